"""The commit protocol as a small state machine, to be searched exhaustively.

One save, one coordinator, an origin and a partner database, recoverers that run at any time and at any age. Every
statement is a message that its server may take up late, also after whoever sent it has died; every process and both
databases may crash anywhere. Only what decides about correctness is in the model: no rows, no clocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

Mutant = Literal[
    "",
    "no_fence",
    "partner_first",
    "decision_after_commit",
    "guess_at_commit",
    "early_cleanup",
    "late_cleanup",
]
"""What is spoiled: recovery that only reads; the published order (partner commits, then origin); a decision written
after the origin's COMMIT; a coordinator that takes a lost connection at COMMIT for an abort; recovery's 'aborted'
removed while the save is still on its way; a decision removed although a backup of the partner may come back."""


class State(NamedTuple):
    """One state of the whole.

    `coordinator`: what it waits for, or how it ended: dead, or having answered success, refusal, or "not known".
    `origin`: its transaction: open, recorded (the decision is written, not committed), failed, committed, aborted.
    `partner`: its transaction: open, prepared, committed, rolled back.
    `register`: the decision that is committed on the origin: "", committed, aborted.
    `to_origin`, `to_partner`: a statement of the coordinator's under way. `from_origin`, `from_partner`: the answer.
    `recoverers`: per process: idle, or (what it found).
    """

    coordinator: str = "begun"
    origin: str = "open"
    partner: str = "open"
    register: str = ""
    to_origin: str = ""
    to_partner: str = ""
    from_origin: str = ""
    from_partner: str = ""
    recoverers: tuple[str, ...] = ("idle", "idle")
    origin_crashes: int = 1
    partner_crashes: int = 1
    process_crashes: int = 2


Move = tuple[str, State]
Rule = Callable[[State, Mutant], Iterator[Move]]

ANSWERED = ("success", "refusal", "not known")


def moves(state: State, mutant: Mutant) -> Iterator[Move]:
    """Everything that can happen next, with its name."""
    for rule in (_coordinator, _origin, _partner, _recovery, _crashes, _cleanup):
        yield from rule(state, mutant)


def violation(state: State) -> str | None:
    """The rule that a state breaks, None when it breaks none."""
    if state.origin == "committed" and state.partner == "rolled back":
        return "the origin has it, the partner not"
    if state.partner == "committed" and state.origin in ("aborted", "failed"):
        return "the partner has it, the origin not"
    if state.coordinator == "success" and (state.origin != "committed" or state.partner in ("open", "rolled back")):
        return "acknowledged, but not on both"
    if state.coordinator == "refusal" and (state.origin == "committed" or state.partner == "committed"):
        return "refused, but applied"
    return None


def is_settled(state: State) -> bool:
    """Whether both halves have ended alike."""
    return (state.origin, state.partner) in (("committed", "committed"), ("aborted", "rolled back"))


def _coordinator(state: State, mutant: Mutant) -> Iterator[Move]:
    """store.two_phase.commit_both."""
    lost = "lost" in (state.from_origin, state.from_partner)
    replied = state._replace(from_origin="", from_partner="")
    match state.coordinator:
        case "begun" if mutant == "partner_first":
            yield "send partner COMMIT", state._replace(coordinator="partner first", to_partner="commit")
        case "begun":
            record = "" if mutant == "decision_after_commit" else "record"
            yield (
                "send PREPARE and decision",
                state._replace(coordinator="preparing", to_partner="prepare", to_origin=record),
            )
        case "partner first" if lost:
            yield "partner lost", replied._replace(coordinator="not known")
        case "partner first" if state.from_partner:
            yield "send COMMIT", replied._replace(coordinator="committing", to_origin="commit")
        case "preparing" if _both_answered(state, mutant):
            if lost or state.from_origin == "duplicate" or state.from_partner == "refused":
                undo = "rollback prepared" if state.from_partner == "ok" else ""
                yield "give up", replied._replace(coordinator="undoing" if undo else "refusal", to_partner=undo)
            else:
                yield "send COMMIT", replied._replace(coordinator="committing", to_origin="commit")
        case "committing" if state.from_origin:
            yield _after_commit(state, replied, mutant)
        case "recording" if state.from_origin:
            yield "send COMMIT PREPARED", replied._replace(coordinator="finishing", to_partner="commit prepared")
        case "resolving" if state.register:
            # resolve(gid): fenced and read as a recoverer does it, and carried out before it returns.
            if state.register == "committed":
                yield "resolved", replied._replace(coordinator="finishing", to_partner="commit prepared")
            else:
                yield "resolved", replied._replace(coordinator="undoing", to_partner="rollback prepared")
        case "resolving":
            if state.origin != "recorded":
                yield "fence", state._replace(register="aborted")
            yield "give up asking", replied._replace(coordinator="not known")
        case "finishing" if state.from_partner:
            yield "answer success", replied._replace(coordinator="success")
        case "undoing" if state.from_partner:
            yield "answer refusal", replied._replace(coordinator="refusal")


def _both_answered(state: State, mutant: Mutant) -> bool:
    return bool(state.from_partner and (state.from_origin or mutant == "decision_after_commit"))


def _after_commit(state: State, replied: State, mutant: Mutant) -> Move:
    """The origin's answer to COMMIT."""
    if state.from_origin == "lost":
        if mutant == "guess_at_commit":
            return "guess", replied._replace(coordinator="undoing", to_partner="rollback prepared")
        if mutant == "partner_first":
            return "origin lost", replied._replace(coordinator="not known")
        return "origin lost", replied._replace(coordinator="resolving")
    if mutant == "partner_first":
        return "answer success", replied._replace(coordinator="success")
    if mutant == "decision_after_commit":
        return "send decision", replied._replace(coordinator="recording", to_origin="record late")
    return "send COMMIT PREPARED", replied._replace(coordinator="finishing", to_partner="commit prepared")


def _origin(state: State, mutant: Mutant) -> Iterator[Move]:
    """The origin's database takes up a statement, or finds its client gone."""
    done = state._replace(to_origin="", from_origin="ok")
    match state.to_origin:
        case "record" if state.register:
            yield "decision meets the fence", done._replace(origin="failed", from_origin="duplicate")
        case "record":
            yield "decision written", done._replace(origin="recorded")
        case "commit" if state.origin == "recorded":
            yield "origin commits", done._replace(origin="committed", register="committed")
        case "commit" if state.origin == "open":
            yield "origin commits", done._replace(origin="committed")
        case "record late":
            yield "decision written late", done._replace(register=state.register or "committed")
    given_up = state.coordinator in (*ANSWERED, "dead", "undoing", "resolving")
    if not state.to_origin and given_up and state.origin in ("open", "recorded", "failed"):
        yield "origin rolls back", state._replace(origin="aborted")


def _partner(state: State, mutant: Mutant) -> Iterator[Move]:
    """The partner's database takes up a statement, or finds its client gone. An unknown gid is answered alike."""
    done = state._replace(to_partner="", from_partner="ok")
    match state.to_partner:
        case "prepare" if state.partner == "open":
            yield "partner prepares", done._replace(partner="prepared")
            yield "partner refuses", done._replace(partner="rolled back", from_partner="refused")
        case "commit":
            yield "partner commits", done._replace(partner="committed")
        case "commit prepared" | "rollback prepared":
            end = "committed" if state.to_partner == "commit prepared" else "rolled back"
            yield state.to_partner, done._replace(partner=end if state.partner == "prepared" else state.partner)
    given_up = state.coordinator in (*ANSWERED, "dead")
    if not state.to_partner and given_up and state.partner == "open":
        yield "partner rolls back", state._replace(partner="rolled back")


def _recovery(state: State, mutant: Mutant) -> Iterator[Move]:
    """store.recovery.Recovery.resolve, one step at a time, in each process."""
    for index, found in enumerate(state.recoverers):
        match found:
            case "idle" if state.partner == "prepared":
                yield "recovery finds it", _with(state, index, "found")
            case "found" if mutant == "no_fence":
                yield "recovery reads", _with(state, index, state.register or "aborted")
            case "found" if state.register:
                yield "recovery reads", _with(state, index, state.register)
            case "found" if state.origin != "recorded":
                # While the decision is written but not committed, the fence waits for it.
                yield "recovery fences", _with(state, index, "found")._replace(register="aborted")
            case "committed" | "aborted":
                end = "committed" if found == "committed" else "rolled back"
                partner = end if state.partner == "prepared" else state.partner
                yield f"recovery: {end}", _with(state, index, "idle")._replace(partner=partner)


def _crashes(state: State, mutant: Mutant) -> Iterator[Move]:
    if state.process_crashes:
        left = state._replace(process_crashes=state.process_crashes - 1)
        if state.coordinator not in (*ANSWERED, "dead"):
            yield "coordinator dies", left._replace(coordinator="dead", from_origin="", from_partner="")
        for index, found in enumerate(state.recoverers):
            if found != "idle":
                yield "recovery dies", _with(left, index, "idle")
    if state.origin_crashes:
        origin = "aborted" if state.origin in ("open", "recorded", "failed") else state.origin
        lost = "lost" if state.to_origin or state.coordinator in ("preparing", "committing") else state.from_origin
        yield (
            "origin crashes",
            state._replace(
                origin=origin,
                to_origin="",
                from_origin=lost if state.coordinator not in (*ANSWERED, "dead") else "",
                origin_crashes=state.origin_crashes - 1,
            ),
        )
    if state.partner_crashes:
        partner = "rolled back" if state.partner == "open" else state.partner
        lost = "lost" if state.to_partner or state.coordinator == "preparing" else state.from_partner
        yield (
            "partner crashes",
            state._replace(
                partner=partner,
                to_partner="",
                from_partner=lost if state.coordinator not in (*ANSWERED, "dead") else "",
                partner_crashes=state.partner_crashes - 1,
            ),
        )


def _cleanup(state: State, mutant: Mutant) -> Iterator[Move]:
    if mutant == "early_cleanup" and state.register == "aborted":
        yield "fence removed", state._replace(register="")
    if mutant == "late_cleanup" and state.register == "committed" and state.partner == "committed":
        yield "decision removed", state._replace(register="")
    if state.partner == "committed" and state.partner_crashes:
        # A base backup, taken while the transaction was prepared, brings it back as prepared.
        yield (
            "partner restored",
            state._replace(partner="prepared", partner_crashes=state.partner_crashes - 1),
        )


def _with(state: State, index: int, found: str) -> State:
    recoverers = list(state.recoverers)
    recoverers[index] = found
    # Which of two processes is where makes no difference.
    return state._replace(recoverers=tuple(sorted(recoverers)))
