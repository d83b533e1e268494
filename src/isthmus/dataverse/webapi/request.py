"""One request as its handler sees it."""

from __future__ import annotations

import re

from isthmus.apps.odata_request import ODataRequest
from isthmus.dataverse.webapi.preferences import NONE, Preferences, read_preferences
from isthmus.errors import Rejected

_ETAG = re.compile(rb'(?:W/)?"(\d{1,19})"')


class Request(ODataRequest):
    """A request to the Web API."""

    @property
    def preferences(self) -> Preferences:
        """What the `Prefer` header asks for."""
        header = self.headers.get(b"prefer")
        return NONE if header is None else read_preferences(header)

    @property
    def only_existing(self) -> bool:
        """`If-Match: *`: write only when the row is there."""
        return self.headers.get(b"if-match", b"").strip() == b"*"

    @property
    def only_new(self) -> bool:
        """`If-None-Match: *`: write only when the row is not there."""
        return self.headers.get(b"if-none-match", b"").strip() == b"*"

    @property
    def expected_version(self) -> int | None:
        """The row version that `If-Match` names; Rejected when it is no ETag."""
        header = self.headers.get(b"if-match", b"").strip()
        if header in (b"", b"*", b"null"):
            return None
        found = _ETAG.fullmatch(header)
        if found is None:
            raise Rejected(
                'The If-Match header must be * or an ETag as it was given with the row, such as W/"1234".',
                code="precondition_syntax",
            )
        return int(found[1])
