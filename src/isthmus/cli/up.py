"""`isthmus up`: start an environment."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Annotated

from cyclopts import Parameter

from isthmus import config
from isthmus.cli import exit_codes
from isthmus.cli.options import DataDir
from isthmus.config import Settings
from isthmus.errors import Conflict, Unavailable
from isthmus.server.state import State, current_state


def up(
    *,
    detach: Annotated[bool, Parameter(negative=(), help="Return as soon as both halves answer.")] = False,
    port: Annotated[int | None, Parameter(help="HTTPS port; HTTP is on the next one. 0 takes free ports.")] = None,
    data_dir: DataDir = None,
    workers: Annotated[int | None, Parameter(help="Server processes.")] = None,
) -> int:
    """Start both halves and say where they are.

    The first start creates the databases, keys and secrets in the data directory; later ones find them there.
    """
    settings = config.load({"port": port, "data_dir": data_dir, "workers": workers})
    state = start_detached(settings) if detach else _run_in_foreground(settings)
    if detach:
        describe(state, settings)
    return exit_codes.OK


def start_detached(settings: Settings, environment: str | None = None) -> State:
    """Start the environment in a process of its own; returns what runs once both halves answer.

    Raises Conflict when it runs already, Unavailable with the reason when it doesn't come up.
    """
    from isthmus.server.order import LOG_FILE, ServerOrder
    from isthmus.server.private_files import prepare_data_dir

    prepare_data_dir(settings.data_dir)
    log_file = settings.data_dir / LOG_FILE
    log_file.parent.mkdir(mode=0o700, exist_ok=True)
    with os.fdopen(os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "isthmus.server.supervisor"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert process.stdin is not None and process.stdout is not None
    with process.stdin, process.stdout:
        process.stdin.write(ServerOrder.of(settings, environment).line())
        process.stdin.flush()
        said = process.stdout.readline().decode().strip()
    if said == "ready":
        # It goes on without us; that it is still our child matters to nobody.
        process.returncode = 0
        return current_state(settings.data_dir)
    process.wait()
    if process.returncode == exit_codes.CONFLICT:
        raise Conflict(said)
    raise Unavailable(f"{said or 'the server ended while starting'} (log: {log_file})", code="start_failed")


def describe(state: State, settings: Settings) -> None:
    """Say where everything is."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print("[bold]Isthmus is running.[/bold]")
    rows = {
        "Dataverse": state.dataverse_url,
        "Finance and operations": state.finops_url,
        "Also without TLS": state.http_url,
        "Certificate to trust": state.ca_file,
    }
    environment_file = settings.data_dir / "credentials.env"
    if settings.identity_file is None and environment_file.exists():
        rows["Log-in for client libraries"] = str(environment_file)
    for name, value in rows.items():
        console.print(f"  {name:<28} {value}")


def _run_in_foreground(settings: Settings) -> State:
    """Run until Ctrl-C or SIGTERM."""
    from isthmus.server.log_output import configure_logging
    from isthmus.server.supervisor import Supervisor, stop_on_signals

    async def run() -> None:
        supervisor = Supervisor(settings)
        stop_on_signals(supervisor)
        await supervisor.run(lambda state: describe(state, settings))

    configure_logging()
    asyncio.run(run())
    return State()
