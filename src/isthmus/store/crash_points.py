"""Named points of the commit protocol at which a torture test may kill the process.

Inert unless ISTHMUS_CRASH_POINT names one: `after_prepare` kills at the first pass, `after_prepare:0.01` with that
probability at each pass.
"""

from __future__ import annotations

import os
import random
import signal

_NAME, _, _CHANCE = os.environ.get("ISTHMUS_CRASH_POINT", "").partition(":")

NAMES = (
    "before_lock",
    "after_lock",
    "after_origin_write",
    "after_partner_write",
    "before_prepare",
    "after_prepare",
    "after_decision",
    "after_commit_prepared",
    "before_answer",
)


def crash_point(name: str) -> None:
    """Kill this process here, without any clean-up, when the environment asks for it."""
    if name == _NAME and random.random() < float(_CHANCE or 1):
        os.kill(os.getpid(), signal.SIGKILL)
