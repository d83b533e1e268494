"""The command line as scripts see it: what it prints, its exit codes, and that it is documented."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cyclopts
import pytest

from isthmus.cli import exit_codes
from isthmus.cli.app import app

REFERENCE = Path(__file__).parent.parent.parent / "docs" / "reference" / "commands.md"
GROUPS = ("map", "alerts")


def isthmus(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from isthmus.cli import main; main()", *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ISTHMUS_")}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=clean | variables, check=False)


def test_status_of_a_directory_that_was_never_used(tmp_path: Path) -> None:
    done = isthmus("status", "--json", "--data-dir", str(tmp_path / "none"))
    assert done.returncode == exit_codes.OK
    status = json.loads(done.stdout)
    assert status["state"] == "stopped"
    assert status["pids"] == []
    assert {"dataverse_url", "finops_url", "ca_file"} <= status.keys()
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", ["up", "status", "down", "token", "doctor"])
def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path, command: str) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    done = isthmus(command, "--data-dir", str(file))
    assert done.returncode == exit_codes.USAGE
    assert done.stderr == f"isthmus: data_dir is {file}, which is a file: name a directory.\n"
    assert file.read_text() == "kept"


def test_down_of_a_directory_that_was_never_used(tmp_path: Path) -> None:
    done = isthmus("down", "--data-dir", str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (exit_codes.OK, "")
    assert not (tmp_path / "none").exists()


def test_token_needs_a_running_environment(tmp_path: Path) -> None:
    done = isthmus("token", "--data-dir", str(tmp_path))
    assert (done.returncode, done.stdout) == (exit_codes.NOT_RUNNING, "")
    assert "isthmus up" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (("up", "--detach"), {"ISTHMUS_WORKERS": "many"}, "ISTHMUS_WORKERS: 'many'"),
        (("up", "--detach", "--port", "70000"), {}, "port is 70000"),
        (("up", "--detach"), {"ISTHMUS_HOST": "0.0.0.0"}, "which other machines can reach"),
    ],
)
def test_a_setting_that_cannot_be_used(
    tmp_path: Path, arguments: tuple[str, ...], variables: dict[str, str], message: str
) -> None:
    done = isthmus(*arguments, "--data-dir", str(tmp_path / "data"), **variables)
    assert done.returncode == exit_codes.USAGE
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_data_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = isthmus("up", "--detach", "--data-dir", str(tmp_path / "file" / "data"))
    assert done.returncode == exit_codes.FAILED
    assert "can't be created" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [("status",), ("status", "--json"), ("check",), ("map", "--help")])
def test_output_that_nobody_reads_any_more_ends_quietly(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-c", "from isthmus.cli import main; main()", *arguments]
    directory = {"ISTHMUS_DATA_DIR": str(tmp_path)}
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, env=os.environ | directory, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (exit_codes.FAILED, b"")


@pytest.mark.parametrize("command", ["status", "down", "token"])
def test_client_commands_load_nothing_heavy(tmp_path: Path, command: str) -> None:
    """They have to start within 0.3 s; what makes them slow is what they import."""
    script = (
        "import sys\n"
        "from isthmus.cli.app import app\n"
        "try:\n"
        f"    app(['{command}', '--data-dir', '{tmp_path}'])\n"
        "except SystemExit:\n"
        "    pass\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    heavy = {"asyncpg", "uvicorn", "starlette", "cryptography", "httpx", "joserfc", "lark", "lxml", "structlog", "rich"}
    assert "isthmus" in loaded
    assert not loaded & heavy


def commands() -> dict[str, cyclopts.App]:
    """All commands, those of groups such as `map list` among them."""
    found = {name: app[name] for name in app if not name.startswith("-")}
    for name in GROUPS:
        found |= {f"{name} {inner}": found[name][inner] for inner in found[name] if not inner.startswith("-")}
    return found


def test_every_command_is_documented() -> None:
    headings = re.findall(r"^###? `isthmus ([a-z]+(?: [a-z-]+)?)", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(headings) == commands().keys()


def test_every_option_is_documented() -> None:
    known = commands()
    sections = re.split(r"^###? ", REFERENCE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for section in sections:
        if not (found := re.match(r"`isthmus ([a-z]+(?: [a-z-]+)?)(.*)`\n", section)):
            continue
        command, usage = found.groups()
        if command in GROUPS:
            continue
        parameters = known[command].assemble_argument_collection(parse_docstring=False)
        offered = {argument.names[0] for argument in parameters if argument.names and argument.names[0][0] == "-"}
        assert offered == set(re.findall(r"--[\w-]+", usage)), command


def test_every_exit_code_is_documented() -> None:
    documented = {
        int(code) for code in re.findall(r"^\| (\d+) \|", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert documented == {value for name, value in vars(exit_codes).items() if name.isupper()}
