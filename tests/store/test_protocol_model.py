"""Every state that the commit protocol can get into, and that each of its clauses is needed."""

from __future__ import annotations

from collections import deque

import pytest
from tests.store.protocol_model import Mutant, State, is_settled, moves, violation


class Search:
    """All states reachable from the first one, how each was reached first, and which lead to which."""

    def __init__(self, mutant: Mutant) -> None:
        first = State()
        self.reached: dict[State, tuple[State, str] | None] = {first: None}
        self.before: dict[State, list[State]] = {}
        self.violations: list[State] = []
        waiting = deque([first])
        while waiting:
            state = waiting.popleft()
            if violation(state):
                self.violations.append(state)
                continue
            for name, following in moves(state, mutant):
                self.before.setdefault(following, []).append(state)
                if following not in self.reached:
                    self.reached[following] = (state, name)
                    waiting.append(following)

    def path(self, state: State) -> list[str]:
        """The names of the moves that lead to a state."""
        names = []
        while (origin := self.reached[state]) is not None:
            state, name = origin
            names.append(name)
        return names[::-1]

    def stuck(self) -> set[State]:
        """States from which no sequence of moves settles both halves."""
        settling = deque(state for state in self.reached if is_settled(state))
        good = set(settling)
        while settling:
            for state in self.before.get(settling.popleft(), ()):
                if state not in good:
                    good.add(state)
                    settling.append(state)
        return set(self.reached) - good


def test_no_crash_anywhere_separates_the_halves() -> None:
    search = Search("")
    assert search.violations == [], search.path(search.violations[0])
    assert not search.stuck()
    # The search means something only if it gets about: every answer and both ends are among the states.
    ends = {(state.coordinator, state.origin) for state in search.reached if is_settled(state)}
    assert {("success", "committed"), ("refusal", "aborted"), ("dead", "committed"), ("dead", "aborted")} <= ends
    assert len(search.reached) > 1_000


def test_recovery_alone_ends_what_a_dead_coordinator_left() -> None:
    """Without another crash, nothing but recovery and the databases' own moves is needed."""
    search = Search("")
    for state in search.reached:
        if state.coordinator == "dead":
            assert is_settled(_run_quietly(state)), search.path(state)


def _run_quietly(state: State) -> State:
    """Follow moves that are no faults until there are none left."""
    for _ in range(100):
        following = [next_ for name, next_ in moves(state, "") if not name.endswith(("crashes", "dies", "restored"))]
        if not following:
            return state
        state = following[-1]
    raise AssertionError(f"it does not end: {state}")


@pytest.mark.parametrize(
    "mutant",
    ["no_fence", "partner_first", "decision_after_commit", "guess_at_commit", "early_cleanup", "late_cleanup"],
)
def test_each_clause_is_needed(mutant: Mutant) -> None:
    search = Search(mutant)
    assert search.violations, f"{mutant} does no harm in the model: is the clause needed, or the model too coarse?"
    shortest = min((search.path(state) for state in search.violations), key=len)
    assert len(shortest) <= 14, shortest
