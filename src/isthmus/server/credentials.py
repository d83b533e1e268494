"""The generated development secrets in the clear, for the developer's own use of a local environment."""

from __future__ import annotations

from pathlib import Path

import msgspec

from isthmus.config import Settings
from isthmus.server.private_files import read_private, write_private


class Credentials(msgspec.Struct, frozen=True):
    """One application and one user of the generated tenant, with their secrets."""

    tenant_id: str
    client_id: str
    client_secret: str
    user_name: str
    user_password: str


def credentials_file(data_dir: Path) -> Path:
    """Where the generated secrets of a data directory are kept."""
    return data_dir / "credentials.json"


def save_credentials(data_dir: Path, credentials: Credentials) -> None:
    """Keep newly generated secrets, readable by their owner alone."""
    write_private(credentials_file(data_dir), msgspec.json.format(msgspec.json.encode(credentials)) + b"\n")


def load_credentials(settings: Settings) -> Credentials | None:
    """The generated development secrets; None when the environment runs with an `identity_file` of its own."""
    path = credentials_file(settings.data_dir)
    if settings.identity_file is not None or not path.exists():
        return None
    return msgspec.json.decode(read_private(path), type=Credentials)


def write_environment_file(settings: Settings, credentials: Credentials, base_url: str, ca_file: Path) -> Path:
    """Write `credentials.env`: the variables with which Microsoft's client libraries log in here, and nothing else.

    The tenant is called `adfs` there: azure-identity asks Microsoft's cloud about every other tenant of an authority
    it doesn't know, and only a constructor's argument (`disable_instance_discovery=True`) keeps it from doing so.
    """
    variables = {
        "AZURE_AUTHORITY_HOST": base_url,
        "AZURE_TENANT_ID": "adfs",
        "AZURE_CLIENT_ID": credentials.client_id,
        "AZURE_CLIENT_SECRET": credentials.client_secret,
        "REQUESTS_CA_BUNDLE": str(ca_file),
        "SSL_CERT_FILE": str(ca_file),
        "NODE_EXTRA_CA_CERTS": str(ca_file),
    }
    path = settings.data_dir / "credentials.env"
    lines = "".join(f"{name}='{value}'\n" for name, value in variables.items())
    write_private(path, lines.encode())
    return path
