"""What the exit codes of `isthmus` mean."""

OK = 0
FAILED = 1
"""It did not work; standard error says why."""
USAGE = 2
"""A flag, a variable or a setting can't be used."""
NOT_RUNNING = 3
"""The command needs an environment that runs, and none does on this data directory."""
CONFLICT = 4
"""An environment runs on this data directory already, or something else has its port."""
INTERRUPTED = 130
"""Stopped by Ctrl-C."""
