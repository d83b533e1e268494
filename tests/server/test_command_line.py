"""The command line on an environment that runs."""

from __future__ import annotations

import json

from tests.server.conftest import RunningEnvironment

from isthmus.cli import exit_codes


async def test_status_is_a_contract(shared: RunningEnvironment) -> None:
    done = shared.isthmus("status", "--json")
    status = json.loads(done.stdout)
    state = shared.state
    assert status["state"] == "running"
    assert status["dataverse_url"].startswith("https://") and status["dataverse_url"].endswith("/api/data/v9.2")
    assert status["finops_url"].startswith("https://") and status["finops_url"].endswith("/data")
    assert status["ca_file"] == str(shared.data_dir / "tls" / "ca.pem")
    assert status["pids"] == [mark.pid for mark in state.marks] and len(status["pids"]) == 3
    assert f"running ({shared.data_dir})" in shared.isthmus("status").stdout


async def test_a_token_is_printed_alone_and_works(shared: RunningEnvironment) -> None:
    for arguments, expected in (
        ((), (200, 200)),
        (("--for", "dataverse"), (200, 401)),
        (("--for", "finops"), (401, 200)),
    ):
        done = shared.isthmus("token", *arguments)
        assert done.returncode == exit_codes.OK, done.stderr
        assert done.stderr == ""
        (token,) = done.stdout.splitlines()
        async with shared.client(headers={"authorization": f"Bearer {token}"}) as client:
            statuses = tuple([(await client.get(path)).status_code for path in ("/api/data/v9.2/", "/data")])
        assert statuses == expected


async def test_a_second_up_is_refused(shared: RunningEnvironment) -> None:
    for arguments in (("up", "--detach", "--port", "0"), ("up", "--port", "0")):
        done = shared.isthmus(*arguments)
        assert done.returncode == exit_codes.CONFLICT
        assert "already" in done.stderr and str(shared.data_dir) in done.stderr
        assert "Traceback" not in done.stderr
    assert shared.state.state == "running"


async def test_down_is_final(environment: RunningEnvironment) -> None:
    environment.start()
    done = environment.isthmus("down")
    assert (done.returncode, done.stdout) == (exit_codes.OK, "")
    status = json.loads(environment.isthmus("status", "--json").stdout)
    assert (status["state"], status["pids"], status["dataverse_url"]) == ("stopped", [], None)
    assert environment.isthmus("token").returncode == exit_codes.NOT_RUNNING
    assert environment.isthmus("down").returncode == exit_codes.OK
