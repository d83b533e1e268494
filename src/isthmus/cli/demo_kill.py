"""The last part of the demo: the server dies in the middle of a commit, is started again, and both halves are equal."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import asyncpg
import msgspec
import requests
from PowerPlatform.Dataverse.core.errors import HttpError

from isthmus.cli.demo_customer import Customer, View
from isthmus.cli.demo_log_in import LogIn
from isthmus.cli.demo_screen import Screen
from isthmus.cli.demo_stories import check_equal, expect
from isthmus.cli.down import stop
from isthmus.cli.up import start_detached
from isthmus.clock import monotonic
from isthmus.config import Settings
from isthmus.environments.databases import HALVES, database_address
from isthmus.errors import Bug
from isthmus.server.state import State, current_state, send_signal

LIMIT = "Credit limit"
RECOVERY_SECONDS = 20
"""After which a transaction still in doubt is a failure: recovery passes every second."""


class Kill(msgspec.Struct, frozen=True):
    """One place of the commit protocol at which the server is killed, and what must stand on both halves afterwards."""

    crash_point: str
    where: str
    outcome: str
    is_saved: bool


KILLS = (
    Kill(
        "after_prepare",
        "after F&O has prepared its part, before Dataverse decides",
        "the save never happened, on either half",
        False,
    ),
    Kill(
        "after_decision",
        "after Dataverse has decided, before F&O commits its part",
        "the save stands on both halves",
        True,
    ),
)


def kill_and_restart(settings: Settings, screen: Screen, kill: Kill, limit: int) -> None:
    """Start the server so that it dies within a save, save, kill what is left of it, start it again, compare both
    halves. Raises Bug when they are not as the protocol promises."""
    screen.heading(f"kill -9 {kill.where}")
    started = monotonic()
    stop(settings)
    state = _start_to_crash(settings, kill.crash_point)
    screen.step(f"Stopped, and started with ISTHMUS_CRASH_POINT={kill.crash_point}", monotonic() - started)
    with Customer(LogIn.to(state, settings), settings.data_dir) as customer:
        account_id = customer.find()
        before = customer.view(account_id)
        _save_killed(customer, account_id, screen, limit)
    _kill_rest(settings.data_dir)
    left = asyncio.run(_in_doubt(settings))
    screen.note("The server is dead; PostgreSQL still holds, prepared and in doubt:")
    screen.note("\n  ".join(left) or "nothing")
    started = monotonic()
    state = start_detached(settings)
    screen.step("Started again", monotonic() - started)
    _await_recovery(settings, screen)
    with Customer(LogIn.to(state, settings), settings.data_dir) as customer:
        after = customer.view(account_id)
    screen.view(tuple(line for line in after if line.label == LIMIT))
    check_equal(after)
    expect(after, LIMIT, limit if kill.is_saved else _limit(before))
    screen.note(f"Equal: {kill.outcome}.")


def _save_killed(customer: Customer, account_id: str, screen: Screen, limit: int) -> None:
    started = monotonic()
    try:
        customer.change_in_dataverse(account_id, creditlimit=limit)
    except (requests.exceptions.RequestException, HttpError) as error:
        screen.step(f"Dataverse (SDK): records.update, creditlimit {limit}", monotonic() - started)
        screen.note(f"No answer ({type(error).__name__}).")
        return
    raise Bug("the server should have died within this save, but it answered.")


def _start_to_crash(settings: Settings, crash_point: str) -> State:
    """Start the environment with a variable that its processes inherit, and those of the next start do not."""
    os.environ["ISTHMUS_CRASH_POINT"] = crash_point
    try:
        return start_detached(settings)
    finally:
        del os.environ["ISTHMUS_CRASH_POINT"]


def _kill_rest(data_dir: Path) -> None:
    """kill -9 to every server process that is still there; PostgreSQL stays, as when only the server dies."""
    for mark in current_state(data_dir).marks:
        send_signal(mark, signal.SIGKILL)


def _await_recovery(settings: Settings, screen: Screen) -> None:
    """Wait until nothing is in doubt any more. Raises Bug when recovery does not get there."""
    started = monotonic()
    while left := asyncio.run(_in_doubt(settings)):
        if monotonic() - started > RECOVERY_SECONDS:
            raise Bug(f"recovery left in doubt: {', '.join(left)}.")
        time.sleep(0.05)
    screen.step("Recovered, nothing in doubt", monotonic() - started)


async def _in_doubt(settings: Settings) -> list[str]:
    """The prepared transactions of both databases, as 'half: identifier'."""
    found = []
    for half in HALVES:
        connection = await asyncpg.connect(database_address(settings, half))
        try:
            rows = await connection.fetch("select gid from pg_prepared_xacts where database = current_database()")
        finally:
            await connection.close()
        found += [f"{half}: {row['gid']}" for row in rows]
    return found


def _limit(view: View) -> object:
    return next(line.dataverse for line in view if line.label == LIMIT)
