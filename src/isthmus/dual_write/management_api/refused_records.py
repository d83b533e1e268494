"""Records that an initial sync could not write."""

from __future__ import annotations

from uuid import UUID

import msgspec

from isthmus.apps.principal import Half
from isthmus.dual_write.management_api.csv import Csv
from isthmus.dual_write.management_api.endpoint import endpoint
from isthmus.dual_write.management_api.paging import Limit, Page, page_of
from isthmus.dual_write.refused_records import RefusedRecord, RefusedRecords


class RefusedQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Records that one half refused; `after` is what a page gave as `next`."""

    half: Half
    table_map: str | None = None
    code: str | None = None
    key: str | None = None
    company: str | None = None
    request: UUID | None = None
    after: int = 0
    limit: Limit = 100


class RefusedFile(msgspec.Struct, frozen=True, kw_only=True):
    """Refused records of one table map, of one request, or all."""

    table_map: str | None = None
    request: UUID | None = None


class DismissRefused(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Refused records of one half that are given up."""

    half: Half
    ids: list[int]


class RefusedRecordCalls:
    """Records that an initial sync could not write: key, columns, reason, value, missing parent."""

    def __init__(self, refused: RefusedRecords) -> None:
        self._refused = refused

    @endpoint("GET", "/refused-records")
    async def list_refused_records(self, query: RefusedQuery) -> Page[RefusedRecord]:
        """List records that one half refused."""
        found = await self._refused.list(
            query.half,
            table_map=query.table_map,
            code=query.code,
            key=query.key,
            company=query.company,
            request=query.request,
            after=query.after,
            limit=query.limit + 1,
        )
        return page_of(found, query.limit, lambda record: str(record.id))

    @endpoint("GET", "/refused-records.csv")
    async def download_refused_records(self, query: RefusedFile) -> Csv:
        """Download the refused records of both halves as CSV."""
        return Csv("refused-records", self._refused.csv(table_map=query.table_map, request=query.request))

    @endpoint("POST", "/refused-records/dismiss")
    async def dismiss_refused_records(self, body: DismissRefused) -> None:
        """Give refused records up: they leave the list. What is sent again instead goes by a run of errors only."""
        await self._refused.dismiss(body.half, body.ids)
