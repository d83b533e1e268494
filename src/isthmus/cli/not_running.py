"""Commands that need an environment that runs."""

from __future__ import annotations

from isthmus.config import Settings
from isthmus.errors import Unavailable
from isthmus.server.state import State, current_state


class NotRunning(Unavailable):
    """No environment runs on the data directory."""


def running_state(settings: Settings) -> State:
    """What runs on the data directory. NotRunning when nothing does."""
    state = current_state(settings.data_dir)
    if state.state != "running":
        raise NotRunning(f"no environment runs on {settings.data_dir}: start it with isthmus up.", code="not_running")
    return state
