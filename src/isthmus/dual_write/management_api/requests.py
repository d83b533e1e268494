"""Requests: long work on table maps, with its progress."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import msgspec

from isthmus.apps.principal import Half
from isthmus.dual_write.initial_sync_part import parts_of
from isthmus.dual_write.management_api.endpoint import endpoint
from isthmus.dual_write.management_api.paging import Limit, Page, page_of
from isthmus.dual_write.requests import Request, Requests, RequestState
from isthmus.store.connections import Connections


class RequestQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of one table map, in some states; `after` is what a page gave as `next`."""

    table_map: str | None = None
    state: list[RequestState] = []
    after: int | None = None
    limit: Limit = 100


class InitialSyncPart(msgspec.Struct, frozen=True, kw_only=True):
    """One leg of a table map, by the half its records are on, and of one company.

    `done` counts records that were looked at, of `total`: those inserted, updated, found as they should be, skipped for
    they take no part, and refused. `waiting` were written without all of their references yet.
    """

    table_map: str
    source: Half
    company: str | None
    step: str
    total: int
    done: int
    inserted: int
    updated: int
    unchanged: int
    skipped: int
    waiting: int


class RequestCalls:
    """Long work on table maps: runs with initial sync and resumes with catch-up. It outlives server processes."""

    def __init__(self, requests: Requests, pools: Mapping[Half, Connections]) -> None:
        self._requests = requests
        self._pools = pools

    @endpoint("GET", "/requests")
    async def list_requests(self, query: RequestQuery) -> Page[Request]:
        """List requests, newest first."""
        found = await self._requests.newest(
            table_map=query.table_map, states=query.state or None, before=query.after, limit=query.limit + 1
        )
        return page_of(found, query.limit, lambda request: str(request.number))

    @endpoint("GET", "/requests/{request_id}")
    async def show_request(self, request_id: UUID) -> Request:
        """Show a request with the progress of its parts."""
        return await self._requests.get(request_id)

    @endpoint("GET", "/requests/{request_id}/initial-sync")
    async def show_initial_sync(self, request_id: UUID) -> list[InitialSyncPart]:
        """Show the parts of a run's initial sync in detail: each leg of each table map, by company.

        They are kept until the next initial sync of the table map.
        """
        await self._requests.get(request_id)
        parts = [part for pool in self._pools.values() for part in await parts_of(pool, request_id)]
        return [
            msgspec.convert(
                msgspec.structs.asdict(part) | {"company": part.company or None}, InitialSyncPart, from_attributes=True
            )
            for part in parts
        ]

    @endpoint("POST", "/requests/{request_id}/cancel", status=202)
    async def cancel_request(self, request_id: UUID) -> Request:
        """Cancel a request: at once while it waits, else at the next point where it is safe to stop."""
        await self._requests.cancel(request_id)
        return await self._requests.get(request_id)
