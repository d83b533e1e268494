"""Failed log-ins are counted per account and address; too many within a minute close that pair for a while."""

from __future__ import annotations

from collections import OrderedDict

from isthmus.clock import monotonic

ALLOWED_FAILURES = 10
WINDOW_SECONDS = 60.0
REMEMBERED_PAIRS = 10_000


class FailedAttempts:
    """The failures of the last minute, in this process."""

    def __init__(self) -> None:
        self._failures: OrderedDict[tuple[str, str], list[float]] = OrderedDict()

    def seconds_to_wait(self, account: str, address: str) -> int:
        """Whole seconds until this account may try again from this address; 0 = now."""
        recent = self._recent((account.lower(), address))
        if len(recent) < ALLOWED_FAILURES:
            return 0
        return max(1, round(recent[-ALLOWED_FAILURES] + WINDOW_SECONDS - monotonic()))

    def failed(self, account: str, address: str) -> None:
        """Count one failure."""
        pair = (account.lower(), address)
        self._failures[pair] = [*self._recent(pair), monotonic()][-ALLOWED_FAILURES:]
        self._failures.move_to_end(pair)
        if len(self._failures) > REMEMBERED_PAIRS:
            self._failures.popitem(last=False)

    def _recent(self, pair: tuple[str, str]) -> list[float]:
        began = monotonic() - WINDOW_SECONDS
        return [moment for moment in self._failures.get(pair, ()) if moment > began]
