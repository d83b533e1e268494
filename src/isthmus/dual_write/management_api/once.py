"""Requests that carry an idempotency key have one effect and one answer, however often they are sent.

Header `Idempotency-Key` (IETF draft). The key is claimed before the work, and the answer kept after it. A claim whose
process ended before there was an answer may be taken over after some minutes: what is asked for here looks first at
what stands, so that doing it again does no harm.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import asyncpg
from starlette.responses import Response

from isthmus.errors import Rejected, Retriable
from isthmus.store.pool import fetch

_CLAIM = """
insert into isthmus.management_answer as a (principal, idempotency_key, request_digest) values ($1, $2, $3)
on conflict (principal, idempotency_key) do update set claimed_at = clock_timestamp()
    where a.status is null and a.request_digest = excluded.request_digest
        and a.claimed_at < clock_timestamp() - interval '5 minutes'
returning true
"""
_FIND = """
select request_digest, status, body from isthmus.management_answer where principal = $1 and idempotency_key = $2
"""
_STORE = "update isthmus.management_answer set status = $3, body = $4 where principal = $1 and idempotency_key = $2"
_GIVE_UP = "delete from isthmus.management_answer where principal = $1 and idempotency_key = $2 and status is null"
_FORGET = "delete from isthmus.management_answer where claimed_at < clock_timestamp() - interval '1 day'"


class Once:
    """The answers to requests that carried a key, kept for a day in the control database."""

    def __init__(self, control: asyncpg.Pool) -> None:
        self._control = control

    async def answer(
        self, principal: str, key: str, request_digest: bytes, produce: Callable[[], Awaitable[Response]]
    ) -> Response:
        """What `produce` answers, or what it answered when the key was used first.

        Rejected (`idempotency_key_reused`) when the key belongs to another request; Retriable while the first one is
        still under way. A request that is refused leaves its key free.
        """
        await fetch(self._control, _FORGET)
        if not await fetch(self._control, _CLAIM, principal, key, request_digest):
            return await self._kept(principal, key, request_digest)
        try:
            answer = await produce()
        except BaseException:
            await fetch(self._control, _GIVE_UP, principal, key)
            raise
        await fetch(self._control, _STORE, principal, key, answer.status_code, bytes(answer.body))
        return answer

    async def _kept(self, principal: str, key: str, request_digest: bytes) -> Response:
        rows = await fetch(self._control, _FIND, principal, key)
        if rows and rows[0]["request_digest"] != request_digest:
            raise Rejected(
                f"The idempotency key '{key}' was used for a different request. Use a new key for a new request.",
                code="idempotency_key_reused",
            )
        if not rows or rows[0]["status"] is None:
            raise Retriable(f"The first request with the idempotency key '{key}' has not ended yet.")
        replayed = {"idempotency-replayed": "true"}
        return Response(rows[0]["body"], rows[0]["status"], replayed, "application/json")
