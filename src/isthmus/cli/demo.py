"""`isthmus demo`: an environment with sample data, and the two stories that Isthmus is for, told on both halves."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import sys
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import msgspec
from cyclopts import Parameter

from isthmus import config
from isthmus.cli import exit_codes
from isthmus.cli.options import DataDir
from isthmus.clock import monotonic
from isthmus.config import Settings
from isthmus.errors import Unavailable
from isthmus.server.state import State, current_state

if TYPE_CHECKING:
    from isthmus.cli.demo_log_in import LogIn
    from isthmus.cli.demo_screen import Screen

CLIENTS = {"PowerPlatform": "PowerPlatform-Dataverse-Client", "azure.identity": "azure-identity"}
"""Modules of Microsoft's clients that the demo drives, and the packages they come in."""


def demo(
    *,
    port: Annotated[int | None, Parameter(help="HTTPS port; HTTP is on the next one. 0 takes free ports.")] = None,
    data_dir: DataDir = None,
) -> int:
    """Start an environment, load the sample company data, and change one customer on both halves.

    Dataverse is driven through Microsoft's own Python SDK, finance and operations through its OData. In the end the
    server is killed in the middle of a commit, twice, and started again. The environment is left running. An
    environment that runs on the data directory already is used, and restarted for that.
    """
    _check_clients()
    from isthmus.cli.demo_log_in import LogIn
    from isthmus.cli.demo_screen import Screen

    settings = config.load({"port": port, "data_dir": data_dir})
    screen = Screen()
    state = _environment(settings, screen)
    settings = _on_the_same_ports(settings, state)
    _sample_data(LogIn.to(state, settings), screen)
    _stories(state, settings, screen)
    _what_next(current_state(settings.data_dir), settings, screen)
    return exit_codes.OK


def _check_clients() -> None:
    """Raises Unavailable with what to install: Isthmus itself does not need Microsoft's clients."""
    missing = [package for module, package in CLIENTS.items() if not _is_installed(module)]
    if missing:
        raise Unavailable(f"the demo drives Microsoft's own clients: run pip install {' '.join(missing)} first.")


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _environment(settings: Settings, screen: Screen) -> State:
    """The environment that runs on the data directory, started when none does."""
    from isthmus.cli.up import start_detached

    state = current_state(settings.data_dir)
    screen.heading("An environment")
    if state.state == "running":
        screen.note(f"Running already on {settings.data_dir}.")
        return state
    started = monotonic()
    state = start_detached(settings)
    screen.step(f"Started on {settings.data_dir}: PostgreSQL, both halves, dual-write", monotonic() - started)
    return state


def _on_the_same_ports(settings: Settings, state: State) -> Settings:
    """The settings to start the environment again with: it comes back where its users know it."""
    ports = {"port": urlsplit(state.base_url).port, "http_port": urlsplit(state.http_url).port}
    return msgspec.structs.replace(settings, **ports)


def _sample_data(log_in: LogIn, screen: Screen) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from isthmus.cli.demo_sample_data import load, records_of, waves

    screen.heading("Sample company data, written to F&O over OData; dual-write carries them to Dataverse")
    total = sum(len(records_of(name)) for wave in waves() for name in wave)
    started = monotonic()
    columns = (TextColumn("  {task.description:<30}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=screen.console, transient=True) as progress:
        task = progress.add_task("", total=total)
        loaded = asyncio.run(
            load(log_in, lambda name, records: progress.update(task, advance=records, description=name))
        )
    seconds = monotonic() - started
    screen.step(f"{loaded.created:,} records created, {loaded.present:,} were there", seconds)


def _stories(state: State, settings: Settings, screen: Screen) -> None:
    from isthmus.cli.demo_customer import Customer
    from isthmus.cli.demo_kill import KILLS, kill_and_restart
    from isthmus.cli.demo_log_in import LogIn
    from isthmus.cli.demo_stories import Stories

    with Customer(LogIn.to(state, settings), settings.data_dir) as customer:
        stories = Stories(customer, screen)
        stories.begin()
        stories.change_of_address()
        stories.credit_limit()
        stories.refusal()
    for number, kill in enumerate(KILLS):
        kill_and_restart(settings, screen, kill, 6000 + 1000 * number)


def _what_next(state: State, settings: Settings, screen: Screen) -> None:
    """Addresses, credentials and requests to try; the environment goes on running."""
    from isthmus.cli.up import describe

    screen.heading("Everything above was true on both halves. The environment goes on running.")
    describe(state, settings)
    command = "isthmus" if shutil.which("isthmus") else sys.argv[0]
    directory = "" if settings.data_dir == config.load({}).data_dir else f" --data-dir {settings.data_dir}"
    curl = f'curl --cacert {state.ca_file} -H "Authorization: Bearer $({command} token{directory})"'
    account = "accounts?\\$select=name,creditlimit&\\$filter=accountnumber%20eq%20'US-001'"
    customer = "CustomersV3(dataAreaId='usmf',CustomerAccount='US-001')"
    screen.heading("Try next")
    for line in (
        f'{curl} "{state.dataverse_url}/{account}"',
        f'{curl} "{state.finops_url}/{customer}?\\$select=CreditLimit"',
        f"{curl} -X PATCH -H 'Content-Type: application/json' -d '{{\"CreditLimit\": 4000}}' "
        f'"{state.finops_url}/{customer}"',
        f"{command} status{directory}",
        f"{command} down{directory}",
    ):
        screen.console.print(f"  {line}", markup=False, soft_wrap=True)
