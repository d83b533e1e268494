"""`isthmus doctor` on databases on which no server runs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from isthmus.cli import exit_codes

GROUPS = "msdyn_customergroups - Customer groups"


class Doctor:
    """The command, on databases of its own."""

    def __init__(self, addresses: dict[str, str], directory: Path) -> None:
        self.addresses = addresses
        self._directory = directory

    async def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("ISTHMUS_")}
        variables = {f"ISTHMUS_{kind.upper()}_DSN": address for kind, address in self.addresses.items()}
        return await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", "from isthmus.cli import main; main()", "doctor", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            env=clean | variables | {"ISTHMUS_DATA_DIR": str(self._directory), "COLUMNS": "400"},
            check=False,
        )

    async def execute(self, kind: str, sql: str) -> None:
        connection = await asyncpg.connect(self.addresses[kind])
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    async def value(self, kind: str, sql: str) -> str:
        connection = await asyncpg.connect(self.addresses[kind])
        try:
            return str(await connection.fetchval(sql))
        finally:
            await connection.close()


@pytest.fixture
async def doctor(
    templates: dict[str, str], new_database: Callable[..., Awaitable[str]], tmp_path: Path
) -> AsyncIterator[Doctor]:
    yield Doctor({kind: await new_database(template) for kind, template in templates.items()}, tmp_path)


async def test_a_sound_environment_is_said_to_be_sound(doctor: Doctor) -> None:
    done = await doctor()
    assert (done.returncode, done.stderr) == (exit_codes.OK, "")
    assert "135 table maps, mode atomic" in done.stdout
    assert "no save is in doubt" in done.stdout
    assert "Findings: 0 errors, 0 warnings, " in done.stdout


async def test_an_error_is_shown_with_what_to_do_and_makes_the_exit_code(doctor: Doctor) -> None:
    await doctor.execute("dataverse", "delete from isthmus.link")
    done = await doctor()
    assert done.returncode == exit_codes.FAILED
    assert "error   DWDVEV1001" in done.stdout and "restore both halves together" in done.stdout


async def test_a_stopped_table_map_is_a_warning(doctor: Doctor) -> None:
    for kind in ("dataverse", "finops"):
        await doctor.execute(
            kind, f"update isthmus.table_map_state set state = 'not_running' where table_map = '{GROUPS}'"
        )
    done = await doctor()
    assert done.returncode == exit_codes.OK
    assert f"warning 400 {GROUPS}: The table map is not running" in done.stdout


async def test_one_table_map_is_shown_with_everything(doctor: Doctor) -> None:
    done = await doctor("--map", GROUPS, "--json")
    assert done.returncode == exit_codes.OK
    report = json.loads(done.stdout)
    assert {finding["table_map"] for finding in report["findings"]} == {GROUPS}
    assert "1000" in {finding["code"] for finding in report["findings"]}
    assert report["max_prepared_transactions"].keys() == {"dataverse", "finops"}
    assert (report["in_doubt"], report["record"]) == ([], None)
    assert "sql: select" in (await doctor("--map", GROUPS)).stdout


async def test_one_record_is_explained(doctor: Doctor) -> None:
    await doctor.execute(
        "finops",
        "insert into finops.custgroup (recid, dataareaid, customergroupid) values (99, 'nowhere', 'G1')",
    )
    done = await doctor("--map", GROUPS, "--record", "g1, nowhere")
    assert done.returncode == exit_codes.FAILED
    assert "Changes of this record don't flow: The Dataverse half has no company 'nowhere'." in done.stdout
    unknown = await doctor("--map", GROUPS, "--record", "none, nowhere")
    assert unknown.returncode == exit_codes.FAILED and "has no record 'none, nowhere'" in unknown.stderr
    alone = await doctor("--record", "g1, nowhere")
    assert alone.returncode == exit_codes.FAILED and "--map" in alone.stderr


@pytest.mark.parametrize("kind", ["control", "dataverse", "finops"])
async def test_a_database_of_an_earlier_version_is_named(doctor: Doctor, kind: str) -> None:
    await doctor.execute(kind, "delete from isthmus.migration where name like '%\\_002%'")
    done = await doctor()
    assert done.returncode == exit_codes.FAILED
    assert f"100: the {kind} database is of an earlier version" in done.stderr


async def test_a_half_that_does_not_answer_is_a_finding(doctor: Doctor) -> None:
    gid = "isth:" + await doctor.value("control", "select value from isthmus.setting where name = 'link'")
    gid += ":finops:1"
    await doctor.execute("dataverse", f"begin; create table left_behind (); prepare transaction '{gid}'")
    doctor.addresses["finops"] += "_gone"
    done = await doctor("--map", GROUPS, "--record", "g1, nowhere", "--json")
    await doctor.execute("dataverse", f"rollback prepared '{gid}'")
    assert (done.returncode, done.stderr) == (exit_codes.FAILED, "")
    report = json.loads(done.stdout)
    (away,) = [finding for finding in report["findings"] if finding["level"] == "error"]
    assert (away["code"], away["half"]) == ("half_away", "finops")
    assert "1000" in {finding["code"] for finding in report["findings"]}
    assert [(doubt["gid"], doubt["decision"]) for doubt in report["in_doubt"]] == [(gid, "unknown")]
    assert (report["max_prepared_transactions"].keys(), report["record"]) == ({"dataverse"}, None)


async def test_a_control_database_that_does_not_answer(doctor: Doctor) -> None:
    doctor.addresses["control"] += "_gone"
    done = await doctor()
    assert done.returncode == exit_codes.FAILED
    assert "A database does not answer" in done.stderr and "Traceback" not in done.stderr
