"""Where settings come from, which wins, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from isthmus import config
from isthmus.config import SettingError, Settings

REFERENCE = Path(__file__).parent.parent / "docs" / "reference" / "settings.md"


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "isthmus.toml").write_text('workers = 2\npool_size = 5\ndefault_company = "dat"\n')
    environ = {"ISTHMUS_DATA_DIR": str(tmp_path), "ISTHMUS_WORKERS": "3", "ISTHMUS_POOL_SIZE": "6", "PATH": "/bin"}
    settings = config.load({"workers": 4, "port": None}, environ)
    assert (settings.workers, settings.pool_size, settings.default_company) == (4, 6, "dat")
    assert settings.data_dir == tmp_path
    assert settings.drain_seconds == Settings().drain_seconds


@pytest.mark.parametrize(
    ("flags", "environ", "expected"),
    [
        ({}, {}, (7443, 7080)),
        ({"port": 9000}, {}, (9000, 9001)),
        ({}, {"ISTHMUS_PORT": "9000"}, (9000, 9001)),
        ({"port": 0}, {}, (0, 0)),
        ({"port": 9000}, {"ISTHMUS_HTTP_PORT": "80"}, (9000, 80)),
    ],
)
def test_http_follows_https(
    tmp_path: Path, flags: dict[str, Any], environ: dict[str, str], expected: tuple[int, int]
) -> None:
    settings = config.load({**flags, "data_dir": tmp_path}, environ)
    assert (settings.port, settings.http_port) == expected


def test_values_of_every_type_are_read_from_text(tmp_path: Path) -> None:
    environ = {
        "ISTHMUS_TRUSTED_PROXIES": "192.0.2.1, 192.0.2.2",
        "ISTHMUS_ACCEPT_MOCK_TOKEN": "true",
        "ISTHMUS_TLS_CERT": "/a.pem",
        "ISTHMUS_TLS_KEY": "/b.pem",
    }
    settings = config.load({"data_dir": tmp_path}, environ)
    assert settings.trusted_proxies == ("192.0.2.1", "192.0.2.2")
    assert settings.accept_mock_token is True
    assert settings.tls_cert == Path("/a.pem")


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"ISTHMUS_PORT": "abc"}, "ISTHMUS_PORT: 'abc' can't be used for port"),
        ({"ISTHMUS_PORT": "70000"}, "port is 70000; it must be between 0 and 65535"),
        ({"ISTHMUS_HTTP_PORT": "7443"}, "both 7443"),
        ({"ISTHMUS_WORKERS": "0"}, "workers is 0"),
        ({"ISTHMUS_POOL_SIZE": "-1"}, "pool_size is -1"),
        ({"ISTHMUS_DRAIN_SECONDS": "-1"}, "drain_seconds is -1"),
        ({"ISTHMUS_ACCEPT_MOCK_TOKEN": "perhaps"}, "ISTHMUS_ACCEPT_MOCK_TOKEN: 'perhaps'"),
        ({"ISTHMUS_TOKEN_LIFETIME": "3601"}, "between 60 and 3600 seconds"),
        ({"ISTHMUS_TOKEN_LIFETIME": "59"}, "between 60 and 3600 seconds"),
        ({"ISTHMUS_TLS_CERT": "/a.pem"}, "belong together"),
        ({"ISTHMUS_ACTIVITY_RETENTION_DAYS": "-1"}, "activity_retention_days is -1"),
        ({"ISTHMUS_MAIL_SERVER": "smtp.example.com"}, "mail_server must begin with mailtos://"),
        ({"ISTHMUS_WORKERS": "5"}, "need 470 connections, but the embedded server takes 300"),
        ({"ISTHMUS_TLS_CERT": ""}, "ISTHMUS_TLS_CERT: ''"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingError, match=re.escape(message)):
        config.load({"data_dir": tmp_path}, environ)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("workerz = 2", "there is no setting 'workerz'"),
        ('data_dir = "/elsewhere"', "there is no setting 'data_dir'"),
        ("workers = ", "not valid TOML"),
        ('workers = "many"', "isthmus.toml: workers: 'many'"),
    ],
)
def test_a_file_with_faults_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "isthmus.toml").write_text(content)
    with pytest.raises(SettingError, match=re.escape(message)):
        config.load({"data_dir": tmp_path}, {})


EXPOSED = {
    "ISTHMUS_HOST": "192.0.2.1",
    "ISTHMUS_TLS_CERT": "/a.pem",
    "ISTHMUS_TLS_KEY": "/b.pem",
    "ISTHMUS_IDENTITY_FILE": "/identity.json",
}


def test_other_machines_are_served_with_ones_own_certificate_and_secrets(tmp_path: Path) -> None:
    assert not config.load({"data_dir": tmp_path}, EXPOSED).listens_on_loopback


@pytest.mark.parametrize("host", ["192.0.2.1", "0.0.0.0", "::", "erp.example.com"])
def test_other_machines_are_not_served_with_generated_secrets(tmp_path: Path, host: str) -> None:
    for missing in (("ISTHMUS_TLS_CERT", "ISTHMUS_TLS_KEY"), ("ISTHMUS_IDENTITY_FILE",)):
        environ = {name: value for name, value in EXPOSED.items() if name not in missing} | {"ISTHMUS_HOST": host}
        with pytest.raises(SettingError, match="which other machines can reach"):
            config.load({"data_dir": tmp_path}, environ)
    with pytest.raises(SettingError, match="for loopback only"):
        config.load({"data_dir": tmp_path}, EXPOSED | {"ISTHMUS_HOST": host, "ISTHMUS_ACCEPT_MOCK_TOKEN": "1"})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "LOCALHOST"])
def test_this_machine_is_served_without_more_ado(tmp_path: Path, host: str) -> None:
    assert config.load({"data_dir": tmp_path}, {"ISTHMUS_HOST": host}).listens_on_loopback


def test_settings_survive_the_way_to_another_process(tmp_path: Path) -> None:
    settings = config.load({"data_dir": tmp_path}, EXPOSED | {"ISTHMUS_TRUSTED_PROXIES": "192.0.2.9"})
    assert config.loads(config.dumps(settings)) == settings


def test_servers_of_ones_own_may_have_more_connections(tmp_path: Path) -> None:
    own = {"ISTHMUS_DATAVERSE_DSN": "postgresql:///a", "ISTHMUS_FINOPS_DSN": "postgresql:///b"}
    assert config.load({"data_dir": tmp_path, "workers": 64}, own).workers == 64
    assert config.load({"data_dir": tmp_path, "workers": 3}, {}).workers == 3


def test_databases_without_a_dsn_are_embedded() -> None:
    assert Settings().embedded_databases == ("isthmus_control", "isthmus_dataverse", "isthmus_finops")
    assert Settings(dataverse_dsn="x").embedded_databases == ("isthmus_control", "isthmus_finops")


def test_every_setting_is_documented_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE))
    assert list(rows) == list(Settings.__struct_fields__)
    for name, documented in rows.items():
        default = getattr(Settings(), name)
        text = str(default).lower() if isinstance(default, bool) else str(default)
        assert documented == ("none" if default in (None, "", ()) else text), name
