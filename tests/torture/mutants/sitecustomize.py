"""Spoils one clause of the commit protocol in every process of an environment that is started with this on its path.

The torture has to find out. TORTURE_MUTANT names what is spoiled; nothing of this is part of the product.
"""

from __future__ import annotations

import os
import random
from typing import Any


def no_fence() -> None:
    """Recovery takes the absence of a decision for a decision."""
    from isthmus.store import recovery

    async def resolve(self: recovery.Recovery, gid: str) -> str:
        origin = gid.split(":")[2]
        outcome = await self._pools[origin].fetchval(recovery.OUTCOME, gid) or "aborted"
        for half, pool in self._pools.items():
            if half != origin:
                await recovery._finish(pool, gid, outcome)
        return str(outcome)

    recovery.Recovery.resolve = resolve  # type: ignore[method-assign]


def no_record_lock() -> None:
    """Writers go for the rows at once: each lock is one of its own."""
    from isthmus.dual_write import record_lock

    def lock_number(table_map: str, key: str) -> int:
        return random.getrandbits(62)

    record_lock.lock_number = lock_number


def partner_first() -> None:
    """The published order: the partner commits, then the origin."""
    from isthmus.store import two_phase
    from isthmus.store.crash_points import crash_point

    async def commit_both(origin: Any, partner: Any, gid: str, resolve: Any) -> bool:
        crash_point("before_prepare")
        await partner.commit()
        crash_point("after_prepare")
        await origin.commit()
        crash_point("after_decision")
        crash_point("after_commit_prepared")
        return False

    two_phase.commit_both = commit_both


def decision_late() -> None:
    """The decision is written in a transaction of its own, after the origin's COMMIT."""
    from isthmus.store import two_phase
    from isthmus.store.crash_points import crash_point

    async def commit_both(origin: Any, partner: Any, gid: str, resolve: Any) -> bool:
        crash_point("before_prepare")
        await partner.prepare(gid)
        crash_point("after_prepare")
        await origin.commit()
        crash_point("after_decision")
        async with origin._pool.acquire() as connection:
            await connection.execute(two_phase.RECORD_DECISION + " on conflict do nothing", gid)
        await two_phase._finish_partner(partner, gid)
        crash_point("after_commit_prepared")
        return False

    two_phase.commit_both = commit_both


def answer_apart() -> None:
    """The answer to an idempotency key is kept in a transaction of its own, after the save."""
    from isthmus.apps import context as context_module
    from isthmus.apps import idempotency

    find = "select status, headers, body from isthmus.answer where principal = $1 and idempotency_key = $2"
    keep = "insert into isthmus.answer values ($1, $2, $3, $4, $5, $6) on conflict do nothing"

    async def claim(context: Any, key: str, request_digest: bytes) -> idempotency.Answer | None:
        record = await context.transaction.row(find, context.principal.object_id, key)
        context.shared["claimed"] = (key, request_digest)
        return None if record is None else idempotency.Answer(record["status"], (), record["body"])

    async def store(context: Any, key: str, answer: idempotency.Answer) -> None:
        context.shared["answer"] = answer

    commit = context_module.Context.commit

    async def commit_then_keep(self: context_module.Context) -> None:
        await commit(self)
        shared: dict[Any, Any] = self.shared
        if "answer" in shared:
            key, request_digest = shared["claimed"]
            answer = shared["answer"]
            async with self.transaction._pool.acquire() as connection:
                await connection.execute(
                    keep, self.principal.object_id, key, request_digest, answer.status, b"[]", answer.body
                )

    idempotency.claim = claim
    idempotency.store = store
    context_module.Context.commit = commit_then_keep  # type: ignore[method-assign]


MUTANTS = {mutant.__name__: mutant for mutant in (no_fence, no_record_lock, partner_first, decision_late, answer_apart)}

_name = os.environ.get("TORTURE_MUTANT")
if _name:
    MUTANTS[_name]()
