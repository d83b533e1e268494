"""One request as its handler sees it."""

from __future__ import annotations

import re

from isthmus.apps.odata_request import ODataRequest
from isthmus.errors import Rejected

_ETAG = re.compile(rb'(?:W/)?"(\d{1,19});(\d{1,19})"')
_PAGE_SIZE = re.compile(rb"odata\.maxpagesize\s*=\s*(\d{1,9})", re.IGNORECASE)
_CROSS_COMPANY = re.compile(r"(?:^|&)cross-company=(?P<value>[^&]*)", re.IGNORECASE)
_TOP = re.compile(r"(?:^|&)(?:\$|%24)top=", re.IGNORECASE)


class Request(ODataRequest):
    """A request to `/data`."""

    @property
    def cross_company(self) -> bool:
        """Whether records of all companies are asked for, and not those of the caller's own only."""
        found = _CROSS_COMPANY.search(self.query) if self.query else None
        return found is not None and found["value"].lower() == "true"

    @property
    def page_size(self) -> int | None:
        """The page size that the client prefers; `$top` decides alone where it is given."""
        header = self.headers.get(b"prefer")
        found = _PAGE_SIZE.search(header) if header else None
        return None if found is None or _TOP.search(self.query) else int(found[1])

    @property
    def expected_etag(self) -> tuple[int, int] | None:
        """The (version, RecId) that `If-Match` names; Rejected when it is no ETag."""
        header = self.headers.get(b"if-match", b"").strip()
        if header in (b"", b"*", b"null"):
            return None
        found = _ETAG.fullmatch(header)
        if found is None:
            raise Rejected(
                "The If-Match header must be * or an ETag as it was given with the record.", code="precondition_syntax"
            )
        return int(found[1]), int(found[2])
