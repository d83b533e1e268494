"""One save on two halves: the marked origin commit.

The partner prepares; the origin's own COMMIT carries the decision row and *is* the decision; then the partner's
prepared transaction is committed. Each clause has a failure behind it, see docs/explanation/commit_protocol.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg

from isthmus.errors import Bug, Rejected, Retriable, Unavailable
from isthmus.observe import log
from isthmus.store.crash_points import crash_point
from isthmus.store.transaction import DRIVER_ERRORS, Transaction

RECORD_DECISION = "insert into isthmus.decision (gid, outcome) values ($1, 'committed')"

Resolve = Callable[[str], Awaitable[str]]
"""Finds out, from the global identifier, what was decided: 'committed' or 'aborted' (see store.recovery)."""


async def commit_both(origin: Transaction, partner: Transaction, gid: str, resolve: Resolve) -> bool:
    """Commit both transactions or neither; True when the partner's part is left to recovery.

    Raises Rejected when a deferred constraint of either half is broken, Retriable when recovery has already aborted
    this save, or Unavailable: when the origin was lost during its COMMIT and does not come back in time, the outcome
    is not known.
    """
    await _prepare(origin, partner, gid)
    crash_point("after_prepare")
    try:
        await origin.commit()
    except Unavailable:
        await _settle_unknown(gid, resolve)
    except (Rejected, Bug, asyncpg.PostgresError):
        await _undo_partner(partner, gid)
        raise
    crash_point("after_decision")
    deferred = not await _finish_partner(partner, gid)
    crash_point("after_commit_prepared")
    return deferred


async def _prepare(origin: Transaction, partner: Transaction, gid: str) -> None:
    """Both at once: the partner prepares while the origin writes the decision into its open transaction."""
    crash_point("before_prepare")
    prepared, recorded = await asyncio.gather(
        partner.prepare(gid), origin.run(RECORD_DECISION, gid), return_exceptions=True
    )
    if isinstance(recorded, str):
        if prepared is None:
            return
        raise prepared
    if prepared is None:
        await _undo_partner(partner, gid)
    if isinstance(recorded, asyncpg.UniqueViolationError):
        raise Retriable(
            "Recovery took this save for abandoned and aborted it; nothing was saved. Send the same request again.",
            code="fenced",
        ) from recorded
    raise recorded


async def _settle_unknown(gid: str, resolve: Resolve) -> None:
    """The origin's connection broke during COMMIT: ask the origin what stands there instead of guessing."""
    for pause in (0.1, 0.5, 1.0, 2.0):
        try:
            if await resolve(gid) == "committed":
                return
        except (*DRIVER_ERRORS, Unavailable):
            await asyncio.sleep(pause)
            continue
        raise Retriable(
            "The connection was lost while saving; nothing was saved. Send the same request again.",
            code="connection_lost",
        )
    raise Unavailable(
        "The connection was lost while the save was decided and the database does not answer: whether it took effect "
        "is not known yet; it is on both halves or on neither. Read the record, or repeat with the same "
        "Idempotency-Key.",
        code="outcome_unknown",
    )


async def _undo_partner(partner: Transaction, gid: str) -> None:
    """Undo the first phase of a save that the origin will not commit. What cannot be undone now, recovery undoes."""
    try:
        await partner.rollback_prepared()
    except asyncpg.UndefinedObjectError:
        partner.state = "ended"  # recovery, which has fenced this save, was quicker
    except DRIVER_ERRORS as error:
        partner.state = "unknown"
        log.warning("partner_rollback_deferred", gid=gid, error=str(error))


async def _finish_partner(partner: Transaction, gid: str) -> bool:
    """Second phase. False when the partner is lost: the decision stands, recovery will finish it."""
    try:
        await partner.commit_prepared()
    except asyncpg.UndefinedObjectError:
        partner.state = "ended"  # recovery, in this or another process, was quicker
    except DRIVER_ERRORS as error:
        partner.state = "unknown"
        log.warning("partner_commit_deferred", gid=gid, error=str(error))
        return False
    return True
