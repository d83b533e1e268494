"""The settings of one environment: defaults, then `isthmus.toml` in the data directory, then `ISTHMUS_*`, then flags.

Every setting is documented in docs/reference/settings.md (a test holds that list against this file).
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

SETTINGS_FILE = "isthmus.toml"
DEFAULT_PORT = 7443
DEFAULT_HTTP_PORT = 7080
LONGEST_TOKEN_LIFETIME = 3600
SHORTEST_TOKEN_LIFETIME = 60

EMBEDDED_CONNECTIONS = 300
"""Connections that the embedded server takes."""
RESERVED_CONNECTIONS = 10
"""Those of them that are left for people, migrations and recovery by others."""
POOLS_PER_HALF = 2
"""Pools of `pool_size` that one worker has on each half: for saves that begin there, and on the partner half."""
WORKER_CONNECTIONS = 12
"""Those that one worker needs beside these pools."""

CONTROL_DATABASE = "isthmus_control"
DATAVERSE_DATABASE = "isthmus_dataverse"
FINOPS_DATABASE = "isthmus_finops"


class SettingError(ValueError):
    """A setting has a value that can't be used. The message names the setting, where it came from and what to do."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What one environment runs with.

    `data_dir`            everything the environment keeps: databases, keys, certificates, logs, state.
    `host`                address that HTTPS listens on; plain HTTP is only ever offered on 127.0.0.1.
    `port`, `http_port`   HTTPS and HTTP; 0 = a free one, chosen at the first start and kept.
    `workers`             server processes.
    `control_dsn`, `dataverse_dsn`, `finops_dsn`   own PostgreSQL databases; empty = the embedded server's.
    `pool_size`           connections of one worker to each half, at most, for saves that begin there; and as many again
                          for saves that begin on the partner half.
    `token_lifetime`      seconds a token of the local issuer is valid.
    `default_company`     legal entity of a caller who names none.
    `tls_cert`, `tls_key` PEM files of your own certificate; none = the development certificate.
    `identity_file`       applications and users that may log in; none = the generated development ones.
    `trusted_proxies`     addresses whose `X-Forwarded-Proto` and `X-Forwarded-Host` are believed.
    `accept_mock_token`   let the fixed token `mock-token-for-localhost` in, from loopback only.
    `drain_seconds`       how long requests may go on after the server was told to stop.
    `queue_alarm_rows`    changes of one table map that wait on one half before an alarm is raised.
    `activity_retention_days`   age at which entries of the activity log are removed; 0 = they stay.
    `mail_server`         address of the server that alerts to e-mail addresses go through, as `apprise` writes it.
    """

    data_dir: Path = Path(".isthmus")
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    http_port: int = DEFAULT_HTTP_PORT
    workers: int = 1
    control_dsn: str = ""
    dataverse_dsn: str = ""
    finops_dsn: str = ""
    pool_size: int = 20
    token_lifetime: int = LONGEST_TOKEN_LIFETIME
    default_company: str = "usmf"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    identity_file: Path | None = None
    trusted_proxies: tuple[str, ...] = ()
    accept_mock_token: bool = False
    drain_seconds: int = 10
    queue_alarm_rows: int = 100_000
    activity_retention_days: int = 0
    mail_server: str = ""

    @property
    def embedded_databases(self) -> tuple[str, ...]:
        """Names of the databases that the embedded server has to hold: those without a DSN of their own."""
        pairs = (
            (self.control_dsn, CONTROL_DATABASE),
            (self.dataverse_dsn, DATAVERSE_DATABASE),
            (self.finops_dsn, FINOPS_DATABASE),
        )
        return tuple(name for dsn, name in pairs if not dsn)

    @property
    def listens_on_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine only. Names other than `localhost` are not looked up."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load(flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings; a flag that is None was not given.

    Raises SettingError for a value that can't be used, an unknown name in `isthmus.toml`, or values that contradict
    each other. A `port` without an `http_port` puts HTTP on the port after it.
    """
    environ = os.environ if environ is None else environ
    given = {name: (value, f"--{name.replace('_', '-')}") for name, value in (flags or {}).items() if value is not None}
    from_environment = {
        name: (environ[variable], variable)
        for name in Settings.__struct_fields__
        if (variable := f"ISTHMUS_{name.upper()}") in environ
    }
    default = (Path(".isthmus"), "data_dir")
    data_dir: Path = _value("data_dir", *(given.get("data_dir") or from_environment.get("data_dir") or default))
    merged = {**_from_file(data_dir / SETTINGS_FILE), **from_environment, **given}
    values = {name: _value(name, value, source) for name, (value, source) in merged.items()}
    values["data_dir"] = data_dir.absolute()
    if "port" in values and "http_port" not in values:
        values["http_port"] = values["port"] + 1 if values["port"] else 0
    settings = Settings(**values)
    _check(settings)
    return settings


def dumps(settings: Settings) -> bytes:
    """The settings as JSON, to hand them to another process of this environment."""
    return msgspec.json.encode(settings, enc_hook=str)


def loads(encoded: bytes) -> Settings:
    """The settings that `dumps` wrote."""
    return msgspec.json.decode(encoded, type=Settings, dec_hook=_path)


def _from_file(path: Path) -> dict[str, tuple[Any, str]]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} is not valid TOML: {error}. Correct the file.") from None
    except OSError as error:
        raise SettingError(f"{path} can't be read: {error.strerror}.") from None
    known = set(Settings.__struct_fields__) - {"data_dir"}
    for name in content:
        if name not in known:
            raise SettingError(f"{path}: there is no setting {name!r}. Settings are: {', '.join(sorted(known))}.")
    return {name: (value, f"{path}: {name}") for name, value in content.items()}


def _value(name: str, value: Any, source: str) -> Any:
    """One value converted to its setting's type; text from the environment is read strictly by that type."""
    expected = _TYPES[name]
    if name == "trusted_proxies" and isinstance(value, str):
        value = tuple(part.strip() for part in value.split(",") if part.strip())
    try:
        if isinstance(value, Path):
            return value
        return msgspec.convert(value, expected, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise SettingError(f"{source}: {value!r} can't be used for {name} ({error}).") from None


def _path(expected: Any, value: Any) -> Any:
    if expected is Path and isinstance(value, str) and value:
        return Path(value).expanduser().absolute()
    raise ValueError("expected the path of a file")


def _check(settings: Settings) -> None:
    """Refuse values that are out of range or that contradict each other."""
    if settings.data_dir.exists() and not settings.data_dir.is_dir():
        raise SettingError(f"data_dir is {settings.data_dir}, which is a file: name a directory.")
    for name in ("port", "http_port"):
        if not 0 <= getattr(settings, name) <= 65535:
            raise SettingError(f"{name} is {getattr(settings, name)}; it must be between 0 and 65535.")
    if settings.port and settings.port == settings.http_port:
        raise SettingError(f"port and http_port are both {settings.port}; HTTPS and HTTP need a port each.")
    for name in ("workers", "pool_size"):
        if getattr(settings, name) < 1:
            raise SettingError(f"{name} is {getattr(settings, name)}; it must be at least 1.")
    if settings.queue_alarm_rows < 1:
        raise SettingError(f"queue_alarm_rows is {settings.queue_alarm_rows}; it must be at least 1.")
    if settings.activity_retention_days < 0:
        raise SettingError(f"activity_retention_days is {settings.activity_retention_days}; 0 keeps entries for good.")
    if settings.mail_server and not settings.mail_server.startswith(("mailto://", "mailtos://")):
        raise SettingError("mail_server must begin with mailtos:// (or mailto://), as in mailtos://user:pass@host.")
    if settings.drain_seconds < 0:
        raise SettingError(f"drain_seconds is {settings.drain_seconds}; it must not be negative.")
    if not SHORTEST_TOKEN_LIFETIME <= settings.token_lifetime <= LONGEST_TOKEN_LIFETIME:
        raise SettingError(
            f"token_lifetime is {settings.token_lifetime}; it must be between {SHORTEST_TOKEN_LIFETIME} and "
            f"{LONGEST_TOKEN_LIFETIME} seconds."
        )
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise SettingError("tls_cert and tls_key belong together: set both, or neither.")
    _check_connections(settings)
    if not settings.listens_on_loopback:
        _check_exposed(settings)


def _check_connections(settings: Settings) -> None:
    """Refuse more workers and larger pools than the embedded server has connections for."""
    halves = len({DATAVERSE_DATABASE, FINOPS_DATABASE}.intersection(settings.embedded_databases))
    pooled = halves * POOLS_PER_HALF * settings.pool_size
    needed = settings.workers * (pooled + WORKER_CONNECTIONS) + RESERVED_CONNECTIONS
    if halves and needed > EMBEDDED_CONNECTIONS:
        raise SettingError(
            f"workers = {settings.workers} with pool_size = {settings.pool_size} need {needed} connections, but the "
            f"embedded server takes {EMBEDDED_CONNECTIONS}: lower one of them, or set dataverse_dsn and finops_dsn to "
            "a server of your own."
        )


def _check_exposed(settings: Settings) -> None:
    """An address that other machines reach needs a certificate of your own and secrets that were not generated."""
    if settings.tls_cert is None:
        raise SettingError(
            f"host is {settings.host}, which other machines can reach: set tls_cert and tls_key to a certificate of "
            "your own, or host to 127.0.0.1."
        )
    if settings.identity_file is None:
        raise SettingError(
            f"host is {settings.host}, which other machines can reach: set identity_file to your own applications and "
            "users (the generated development secrets are for this machine only), or host to 127.0.0.1."
        )
    if settings.accept_mock_token:
        raise SettingError(f"accept_mock_token is for loopback only, but host is {settings.host}: unset one of them.")


_TYPES = get_type_hints(Settings)
