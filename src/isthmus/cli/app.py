"""The commands and what their exit codes mean. A command's module is imported when it runs, so that all start fast."""

from __future__ import annotations

import os
import sys

import cyclopts

import isthmus
from isthmus.cli import exit_codes
from isthmus.cli.not_running import NotRunning
from isthmus.config import SettingError
from isthmus.errors import Conflict, IsthmusError

app = cyclopts.App(
    name="isthmus",
    help="Run both halves of an environment: a Dataverse-style platform and a finance and operations app.",
    version=isthmus.__version__,
)
app.command("isthmus.cli.up:up", name="up")
app.command("isthmus.cli.down:down", name="down")
app.command("isthmus.cli.status:status", name="status")
app.command("isthmus.cli.token:token", name="token")
app.command("isthmus.cli.check:check", name="check")
app.command("isthmus.cli.doctor:doctor", name="doctor")
app.command("isthmus.cli.activity:activity", name="activity")
app.command("isthmus.cli.table_map:app", name="map")
app.command("isthmus.cli.alerts:app", name="alerts")
app.command("isthmus.cli.demo:demo", name="demo")


def main() -> None:
    """Entry point of `isthmus`: run a command; a refusal is one sentence on standard error and an exit code."""
    try:
        _run()
    except BrokenPipeError:
        # Who read our output has seen enough. What is left of it must go somewhere when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(exit_codes.FAILED)
    except SettingError as error:
        _fail(str(error), exit_codes.USAGE)
    except NotRunning as error:
        _fail(error.message, exit_codes.NOT_RUNNING)
    except Conflict as error:
        _fail(error.message, exit_codes.CONFLICT)
    except IsthmusError as error:
        _fail(error.message, exit_codes.FAILED)
    except KeyboardInterrupt:
        sys.exit(exit_codes.INTERRUPTED)


def _run() -> None:
    try:
        app()
    finally:
        sys.stdout.flush()


def _fail(message: str, code: int) -> None:
    print(f"isthmus: {message}", file=sys.stderr)
    sys.exit(code)
