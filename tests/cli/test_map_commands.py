"""`isthmus map` against a server that runs: what the commands print, do and return."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from isthmus import config
from isthmus.cli import exit_codes
from isthmus.environments.databases import database_address
from isthmus.server.state import current_state

UNITS = "uoms - Units"
CURRENCIES = "transactioncurrencies - Currencies"
TERMS = "msdyn_paymentterms - Terms of payment"
GROUPS = "msdyn_customergroups - Customer groups"


class Running:
    """An environment that runs, and the command line on it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    def isthmus(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command, clean = self.command(*arguments)
        return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, env=clean)

    def at_terminal(self, typed: str, *arguments: str) -> str:
        """What a command shows at a terminal at which this is typed."""
        keyboard, terminal = os.openpty()
        command, clean = self.command(*arguments)
        with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=clean) as process:
            os.close(terminal)
            os.write(keyboard, typed.encode())
            shown = b""
            with suppress(OSError):  # what Linux says when the last one has closed the terminal
                while chunk := os.read(keyboard, 1000):
                    shown += chunk
            assert process.wait(280) == exit_codes.OK, shown
        os.close(keyboard)
        return shown.decode()

    def command(self, *arguments: str) -> tuple[list[str], dict[str, str]]:
        command = [sys.executable, "-c", "from isthmus.cli import main; main()", *arguments]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("ISTHMUS_")}
        return [*command, "--data-dir", str(self.data_dir)], clean | {"COLUMNS": "200"}

    def map(self, *arguments: str, code: int = exit_codes.OK) -> str:
        """What `isthmus map` prints; it must end with this exit code."""
        done = self.isthmus("map", *arguments)
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        return done.stdout if code in (exit_codes.OK, exit_codes.FAILED) and done.stdout else done.stderr

    def map_json(self, *arguments: str, code: int = exit_codes.OK) -> Any:
        return json.loads(self.map(*arguments, "--json", code=code))

    def alerts(self, *arguments: str, code: int = exit_codes.OK) -> str:
        """What `isthmus alerts` prints; it must end with this exit code."""
        done = self.isthmus("alerts", *arguments)
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        return done.stdout or done.stderr

    def activity(self, *arguments: str) -> list[Any]:
        """The entries of `isthmus activity`."""
        done = self.isthmus("activity", *arguments, "--json")
        assert done.returncode == exit_codes.OK, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    @asynccontextmanager
    async def database(self, name: str) -> AsyncIterator[asyncpg.Connection]:
        """One of the databases of the environment."""
        connection = await asyncpg.connect(database_address(config.load({"data_dir": self.data_dir}), name))
        try:
            yield connection
        finally:
            await connection.close()

    def create(self, entity_set: str, record: dict[str, Any]) -> None:
        """Create an F&O record."""
        self.send("POST", entity_set, record)

    def send(self, method: str, path: str, record: dict[str, Any] | None = None) -> None:
        """Write to the F&O half."""
        state = current_state(self.data_dir)
        token = self.isthmus("token").stdout.strip()
        context = ssl.create_default_context(cafile=state.ca_file)
        headers = {"authorization": f"Bearer {token}"}
        made = httpx.request(method, f"{state.finops_url}/{path}", json=record, headers=headers, verify=context)
        assert made.is_success, made.text


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    directory = Path(tempfile.mkdtemp(prefix="isthmus-map-"))
    environment = Running(directory)
    try:
        up = environment.isthmus("up", "--detach", "--port", "0")
        assert up.returncode == 0, up.stderr
        yield environment
    finally:
        environment.isthmus("down")
        shutil.rmtree(directory, ignore_errors=True)


def test_nothing_runs(tmp_path: Path) -> None:
    done = Running(tmp_path).isthmus("map", "list")
    assert (done.returncode, done.stdout) == (exit_codes.NOT_RUNNING, "")
    assert "isthmus up" in done.stderr and "Traceback" not in done.stderr


def test_table_maps_are_listed_and_shown(running: Running) -> None:
    found = running.map_json("list")
    assert len(found) >= 135
    assert {one["state"] for one in found} == {"running"}
    assert UNITS in running.map("list", "--state", "running")
    assert UNITS not in running.map("list", "--state", "paused")
    shown = running.map("show", "uoms - u")
    assert UNITS in shown and "msdyn_symbol" in shown
    assert running.map_json("show", UNITS)["definition"]["table"] == "uom"
    assert "cdm_companies - Legal entities" in running.map("graph")
    assert len(running.map_json("graph")["nodes"]) == len(found)


def test_names_that_fit_none_or_several_are_refused(running: Running) -> None:
    assert "no table map named 'nothing like this'" in running.map("show", "nothing like this", code=1)
    assert "fits" in running.map("show", "customers", code=1)
    assert "--all" in running.map("pause", code=1)


def test_paused_changes_wait_and_are_delivered(running: Running) -> None:
    assert "done" in running.map("pause", CURRENCIES)
    running.create("Currencies", {"CurrencyCode": "XWA", "Name": "Waiting", "Symbol": "w"})
    (paused,) = running.map_json("list", "--state", "paused")
    assert (paused["name"], paused["waiting"]) == (CURRENCIES, 1)
    compared = running.map_json("compare", CURRENCIES, code=exit_codes.FAILED)
    assert (compared[0]["missing_in_dataverse"], compared[0]["missing_in_finops"]) == (1, 0)
    refused = running.map("stop", CURRENCIES, code=exit_codes.FAILED)
    assert "wait in the queue: 1" in refused
    assert "can't pause" in running.map("pause", CURRENCIES, code=exit_codes.FAILED)
    resumed = running.map_json("resume", CURRENCIES)
    assert (resumed["state"], resumed["progress"][0]["done"]) == ("completed", 1)
    assert running.map_json("compare", CURRENCIES)[0]["equal"] >= 1


def test_what_depends_on_a_paused_table_map_is_told_and_offered(running: Running) -> None:
    pairs = {(edge["needs"], edge["table_map"]) for edge in running.map_json("graph")["edges"]}
    needed = [parent for parent, _ in pairs]
    parent, child = min(pair for pair in pairs if needed.count(pair[0]) == 1 and pair[1] not in needed)

    done = running.isthmus("map", "pause", parent, "--json")
    assert json.loads(done.stdout)["dependents"] == [child]
    assert child in done.stderr and "--with-dependents" in done.stderr
    assert json.loads(done.stdout)["table_maps"] == [parent]
    running.map("resume", parent)
    assert running.at_terminal("n\n", "map", "pause", parent).count(child) == 1
    assert [one["name"] for one in running.map_json("list", "--state", "paused")] == [parent]
    running.map("resume", parent)
    asked = running.at_terminal("y\n", "map", "stop", parent)
    assert "Stop them too? [y/N]" in asked and "Stop of 2 table maps: done" in asked
    assert {one["name"] for one in running.map_json("list", "--state", "not_running")} == {parent, child}
    running.map("run", parent, child, "--skip-initial-sync")
    assert running.map_json("pause", parent, "--with-dependents")["dependents"] == []
    running.map("resume", parent, child)


def test_what_is_refused_is_shown_and_tried_again(running: Running) -> None:
    running.map("pause", CURRENCIES)
    running.create("Currencies", {"CurrencyCode": "XNO", "Name": "Without symbol"})
    resumed = running.map_json("resume", CURRENCIES, code=exit_codes.FAILED)
    assert (resumed["state"], resumed["progress"][0]["refused"]) == ("completed", 1)
    (failed,) = running.map_json("errors", CURRENCIES, code=exit_codes.FAILED)["queued_changes"]
    assert (failed["code"], failed["record_key"]) == ("required_column", "xno")
    assert "currencysymbol" in running.map("errors", CURRENCIES, code=exit_codes.FAILED)
    assert "1 queued changes are tried again" in running.map("retry", CURRENCIES)
    running.map("pause", CURRENCIES)
    assert "wait in the queue" in running.map("stop", CURRENCIES, code=exit_codes.FAILED)
    running.map("stop", CURRENCIES, "--discard-queue")
    running.send("DELETE", "Currencies('XNO')")
    running.map("run", CURRENCIES, "--alone", "--skip-initial-sync")


def test_queued_changes_are_listed_tried_again_and_given_up(running: Running) -> None:
    running.map("pause", CURRENCIES)
    running.create("Currencies", {"CurrencyCode": "XQA", "Name": "Without symbol"})
    running.create("Currencies", {"CurrencyCode": "XQB", "Name": "Without symbol"})
    running.map("resume", CURRENCIES, code=exit_codes.FAILED)
    failed = running.map_json("queue", CURRENCIES, "--half", "finops", "--status", "failed")
    assert [one["record_key"] for one in failed] == ["xqa", "xqb"]
    assert "currencysymbol" in running.map("queue", CURRENCIES)
    assert [one["record_key"] for one in running.map_json("queue", CURRENCIES, "--key", "XQB")] == ["xqb"]
    first, second = (str(one["id"]) for one in failed)
    one = ("queue", CURRENCIES, "--half", "finops")
    assert "1 queued changes are tried again" in running.map(*one, "--retry", first)
    assert "--half" in running.map("queue", CURRENCIES, "--retry", first, code=exit_codes.FAILED)
    unknown = running.map(*one, "--dismiss", first, "--dismiss", "0", "--reason", "Wrong.", code=exit_codes.FAILED)
    assert "waiting or refused change 0" in unknown and len(running.map_json("queue", CURRENCIES)) == 2
    given_up = ("--dismiss", first, "--dismiss", second)
    assert "--reason" in running.map(*one, *given_up, code=exit_codes.FAILED)
    assert running.map_json(*one, *given_up, "--reason", "No longer wanted.") == {"count": 2}
    assert running.map_json("queue", CURRENCIES) == []
    dismissed = running.map_json("queue", CURRENCIES, "--status", "dismissed", "--key", "xqa")
    assert dismissed[-1]["dismissed_reason"] == "No longer wanted."
    running.send("DELETE", "Currencies('XQA')")
    running.send("DELETE", "Currencies('XQB')")


def test_filters_are_tried_and_explained(running: Running) -> None:
    running.create("Currencies", {"CurrencyCode": "XFI", "Name": "Filtered", "Symbol": "f"})
    both = running.map_json("filter", CURRENCIES)
    assert [one["half"] for one in both] == ["finops", "dataverse"] and all(one["passes"] for one in both)
    unsaved = ("filter", CURRENCIES, "--half", "finops", "--finops-filter", '(CURRENCYCODE == "XFI")')
    assert "finops: 1 of" in running.map(*unsaved)
    assert "passes" in running.map(*unsaved, "--explain", "xfi")
    other = ("filter", CURRENCIES, "--half", "finops", "--finops-filter", '(NAME == "Other")', "--explain", "XFI")
    assert "'Filtered'" in running.map(*other, code=exit_codes.FAILED)
    assert running.map_json(*other, code=exit_codes.FAILED)["values"] == {"Name": "Filtered"}
    assert "no record" in running.map(*unsaved, "--explain", "none", code=exit_codes.FAILED)
    assert "--half" in running.map("filter", CURRENCIES, "--explain", "xfi", code=exit_codes.FAILED)


def test_a_table_map_is_set_to_pause_itself(running: Running) -> None:
    assert running.map_json("pauses-itself", UNITS, "on")["pauses_itself"]
    assert "pauses itself" in running.map("show", UNITS)
    assert "refused" in running.map("pauses-itself", UNITS, "off")


def test_a_request_is_cancelled(running: Running) -> None:
    assert "nothing is under way" in running.map("cancel", UNITS, code=exit_codes.FAILED)
    running.map("stop", UNITS)
    running.create("UnitsOfMeasure", {"UnitSymbol": "xcancel"})
    request, shown = asyncio.run(cancelled_while_it_waits(running))
    assert "cancelled" in shown
    assert "ended (cancelled)" in running.map("cancel", request, code=exit_codes.FAILED)
    running.map("run", UNITS, "--alone")


async def cancelled_while_it_waits(running: Running) -> tuple[str, str]:
    """A run of units that a lock keeps from ending until its cancelling was asked for: its id, what `cancel` shows."""
    async with running.database("control") as control, running.database("dataverse") as dataverse:
        async with dataverse.transaction():
            await dataverse.execute("lock table dataverse.uom in exclusive mode")
            request = running.map_json("run", UNITS, "--alone", "--no-wait")["id"]
            cancelling = asyncio.create_task(asyncio.to_thread(running.map, "cancel", UNITS))
            asked = "select cancel_asked from isthmus.table_map_request where id = $1"
            while not cancelling.done() and not await control.fetchval(asked, request):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return request, await cancelling


def test_alert_rules_are_added_changed_and_removed(running: Running) -> None:
    added = ("add", "Many refusals", "--count", "3", "--interval", "1", "--unit", "hours", "--action", "pause")
    assert "added" in running.alerts(*added, "--map", "uoms - u")
    assert "error_types" in running.alerts("add", "Wrong", "--error", "nonsense", "--action", "stop", code=1)
    running.alerts("edit", "many", "--count", "5", "--state", "off", "--error", "half_away", "--error", "queue_alarm")
    (stored,) = json.loads(running.alerts("list", "--json"))
    assert stored["rule"] == {
        "name": "Many refusals",
        "enabled": False,
        "error_types": ["half_away", "queue_alarm"],
        "table_maps": [UNITS],
        "threshold": {"count": 5, "interval": 1, "unit": "hours"},
        "notify": [],
        "action": "pause",
    }
    running.alerts("edit", "many", "--empty-map")
    assert re.search(r"Many refusals +off +5 in 1 hours: half_away, queue_alarm +all +pause", running.alerts("list"))
    assert json.loads(running.alerts("fired", "--json")) == []
    assert "deleted" in running.alerts("remove", "many refusals")
    assert "no alert rule" in running.alerts("remove", "many refusals", code=exit_codes.FAILED)


def test_activity_is_filtered_and_grouped(running: Running) -> None:
    began = datetime.now(UTC).isoformat()
    running.map("pause", CURRENCIES)
    running.create("Currencies", {"CurrencyCode": "XAC", "Name": "Without symbol"})
    running.map("resume", CURRENCIES, code=exit_codes.FAILED)
    (entry,) = running.activity("--map", "currencies - c", "--kind", "catch_up_error", "--since", began)
    assert (entry["record_key"], entry["code"]) == ("xac", "required_column")
    assert {one["kind"] for one in running.activity("--kind", "paused", "--kind", "resumed")} == {"paused", "resumed"}
    assert running.activity("--until", "2020-01-01") == []
    (group,) = running.activity("--group", "--kind", "catch_up_error", "--since", began)
    assert (group["count"], group["table_maps"]) == (1, [CURRENCIES])
    assert "required_column" in running.isthmus("activity", "--group").stdout
    (paused, *_) = running.activity("--kind", "paused", "--since", began)
    assert paused["who"]
    shown = running.isthmus("activity", "--since", began).stdout
    assert entry["message"] in shown and f"paused  {CURRENCIES}  {paused['who']}" in shown
    refused = running.isthmus("activity", "--since", "soon")
    assert (refused.returncode, "2026-05-01" in refused.stderr) == (exit_codes.FAILED, True)
    (failed,) = running.map_json("queue", CURRENCIES, "--key", "xac")
    running.map("queue", CURRENCIES, "--half", "finops", "--dismiss", str(failed["id"]), "--reason", "A test.")
    running.send("DELETE", "Currencies('XAC')")


def test_a_refusal_is_not_laid_on_the_half_that_it_began_on(running: Running) -> None:
    async def record() -> None:
        async with running.database("control") as control:
            await control.execute(
                "insert into isthmus.activity (kind, result, origin, code, message, principal, correlation_id) "
                "values ('half_away', 'refused', 'finops', 'partner_unavailable', 'Dataverse does not answer.', '', '')"
            )

    asyncio.run(record())
    shown = running.isthmus("activity", "--limit", "1").stdout
    assert "began in finops, refused (partner_unavailable)" in shown


def test_what_initial_sync_refuses_is_kept_and_run_again(running: Running, tmp_path: Path) -> None:
    running.map("stop", CURRENCIES)
    running.create("Currencies", {"CurrencyCode": "XRF", "Name": "Without symbol"})
    refused = running.map("run", CURRENCIES, "--alone", "--master", "finops", code=exit_codes.FAILED)
    assert "1 records were refused" in refused and "errors only" in refused
    assert running.map_json("show", CURRENCIES)["summary"]["last_request"]["state"] == "error"
    assert running.map_json("show", CURRENCIES)["summary"]["state"] == "not_running"
    file = tmp_path / "refused.csv"
    (record,) = running.map_json("errors", CURRENCIES, "--csv", str(file), code=exit_codes.FAILED)["initial_sync"]
    assert (record["record_key"], record["code"]) == ("xrf", "required_column")
    assert "currencysymbol" in file.read_text() and len(file.read_text().splitlines()) == 2
    running.send("PATCH", "Currencies('XRF')", {"Symbol": "f"})
    assert "done" in running.map("run", CURRENCIES, "--alone", "--master", "finops", "--errors-only")
    assert running.map_json("show", CURRENCIES)["summary"]["state"] == "running"
    assert running.map_json("compare", CURRENCIES)[0]["missing_in_dataverse"] == 0
    assert running.map_json("errors", CURRENCIES)["initial_sync"] == []


def test_errors_alone_are_run_again_while_the_table_map_runs(running: Running) -> None:
    running.map("stop", CURRENCIES)
    running.create("Currencies", {"CurrencyCode": "XRG", "Name": "Without symbol"})
    again = ("run", CURRENCIES, "--alone", "--master", "finops")
    running.map(*again, "--with-errors", code=exit_codes.FAILED)
    assert "can't run" in running.map(*again, code=exit_codes.FAILED)
    running.map(*again, "--errors-only", code=exit_codes.FAILED)
    (record,) = running.map_json("errors", CURRENCIES, code=exit_codes.FAILED)["initial_sync"]
    assert (record["record_key"], record["attempts"]) == ("xrg", 2)
    running.send("PATCH", "Currencies('XRG')", {"Symbol": "g"})
    running.map(*again, "--errors-only")
    assert running.map_json("errors", CURRENCIES)["initial_sync"] == []
    assert running.map_json("show", CURRENCIES)["summary"]["state"] == "running"


def test_what_a_run_of_errors_adds_is_copied_in_full(running: Running) -> None:
    """The group was refused because its terms were not there; the terms' table map, added for its sake, brings them."""
    running.create("LegalEntities", {"LegalEntityId": "USMF", "Name": "Contoso Entertainment USA"})
    running.map("stop", TERMS, GROUPS)
    running.create("PaymentTerms", {"dataAreaId": "usmf", "Name": "XTERMS"})
    running.create("CustomerGroups", {"dataAreaId": "usmf", "CustomerGroupId": "XGRP", "PaymentTermId": "XTERMS"})
    running.map("run", GROUPS, "--alone", "--master", "finops", code=exit_codes.FAILED)
    running.map("run", GROUPS, "--master", "finops", "--errors-only")
    for name in (TERMS, GROUPS):
        assert running.map_json("show", name)["summary"]["state"] == "running"
        compared = running.map_json("compare", name)[0]
        assert (compared["missing_in_dataverse"], compared["missing_in_finops"]) == (0, 0)


def test_a_stopped_table_map_is_planned_run_and_repaired(running: Running) -> None:
    running.map("stop", CURRENCIES)
    running.create("Currencies", {"CurrencyCode": "XIN", "Name": "Initial", "Symbol": "i"})
    plan = running.map_json("plan", CURRENCIES, "--alone", "--master", "finops")
    assert plan["table_maps"][0]["companies"][0]["to_dataverse"]["insert"] == 1
    assert CURRENCIES in running.map("plan", CURRENCIES, "--alone")
    assert "1" in running.map("preview", CURRENCIES, "XIN")
    assert "done" in running.map("run", CURRENCIES, "--alone", "--master", "finops")
    assert running.map_json("preview", CURRENCIES, "XIN")["outcome"] == "unchanged"
    running.map("stop", CURRENCIES)
    running.create("Currencies", {"CurrencyCode": "XRE", "Name": "Repaired", "Symbol": "r"})
    running.map("run", CURRENCIES, "--alone", "--skip-initial-sync")
    assert "missing in dataverse" in running.map("compare", CURRENCIES, code=exit_codes.FAILED)
    assert "1 of 1 repaired" in running.map("compare", CURRENCIES, "--repair-from", "finops")
    assert running.map_json("errors", CURRENCIES) == {"live_sync": [], "queued_changes": [], "initial_sync": []}


def test_a_changed_definition_is_a_version(running: Running, tmp_path: Path) -> None:
    definition = running.map("edit", UNITS)
    file = tmp_path / "units.toml"
    file.write_text(definition)
    assert "No faults" in running.map("edit", UNITS, "--file", str(file), "--check")
    assert "stop" in running.map("edit", UNITS, "--remove", "1", code=exit_codes.FAILED)
    spoiled = definition.replace('"uom"', '"no_such_table"')
    file.write_text(spoiled)
    running.map("edit", UNITS, "--file", str(file), "--check", code=exit_codes.FAILED)
    running.map("stop", UNITS)
    before = running.map_json("versions", UNITS)
    saved = running.map("edit", UNITS, "--finops-filter", '(UNITSYMBOL != "none")')
    after = running.map_json("versions", UNITS)
    assert f"version {after[0]['version']} was saved" in saved
    assert len(after) == len(before) + 1 and after[0]["is_chosen"]
    assert "finops_filter" in running.map("versions", UNITS, "--diff", before[0]["version"])
    back = running.map_json("versions", UNITS, "--roll-back")
    assert [one["is_chosen"] for one in back][:2] == [False, True]
    assert len(running.map_json("versions", UNITS, "--delete", after[0]["version"])) == len(before)
    assert "No faults" in running.map("validate", UNITS, "--version", before[0]["version"])
    key = running.map_json("key", UNITS)
    assert key == {"table": "uom", "key": ["msdyn_symbol"], "saved": []}
    saved = running.map_json("key", UNITS, "msdyn_symbol")["saved"]
    assert [one["table_map"] for one in saved] == [UNITS]
    assert running.map_json("versions", UNITS, "--roll-back")[0]["version"] == saved[0]["version"]
    assert "done" in running.map("run", UNITS, "--alone")
    assert "stop" in running.map("key", UNITS, "msdyn_symbol", code=exit_codes.FAILED).lower()


def test_a_new_table_map_is_checked_then_made_and_deleted(running: Running, tmp_path: Path) -> None:
    file, name = tmp_path / "new.toml", "msdyn_productcolors - Units"
    text = (
        'entity = "UnitOfMeasureEntity"\ntable = "msdyn_productcolor"\nintegration_key = ["msdyn_productcolorname"]\n'
        'rows = [["UNITSYMBOL", ">", "msdyn_productcolorname"]]\n'
    )
    new = ("edit", name, "--new", "--file", str(file))
    file.write_text(text.replace("UNITSYMBOL", "NOSUCHFIELD"))
    assert "NOSUCHFIELD" in running.map(*new, "--check", code=exit_codes.FAILED)
    file.write_text(text)
    assert "No faults" in running.map(*new, "--check")
    assert name not in {one["name"] for one in running.map_json("list")}
    assert "as it stands" in running.map(*new, "--remove", "1", code=exit_codes.FAILED)
    assert name in running.map(*new)
    assert "joins UnitOfMeasureEntity" in running.map(*new, "--check", code=exit_codes.FAILED)
    assert "alone" in running.map("edit", name, "--delete", "--check", code=exit_codes.FAILED)
    assert running.map_json("show", name)["summary"]["state"] == "not_running"
    assert "was deleted" in running.map("edit", name, "--delete")
    assert name not in {one["name"] for one in running.map_json("list")}


def test_usage(running: Running) -> None:
    assert running.isthmus("map", "resume", UNITS, "--live", "never").returncode != exit_codes.OK
    bogus = running.isthmus("map", "list", "--state", "bogus")
    assert bogus.returncode == exit_codes.USAGE and '"not_running"' in bogus.stderr
    assert "exclude" in running.map("versions", UNITS, "--roll-back", "--delete", "1.0.0.0", code=exit_codes.FAILED)
