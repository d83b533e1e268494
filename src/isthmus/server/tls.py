"""The certificate that HTTPS is served with: your own, or one from a development authority kept in the data directory.

Clients on this machine trust the development authority by naming its certificate (`ca_file`), for instance in
REQUESTS_CA_BUNDLE, SSL_CERT_FILE or NODE_EXTRA_CA_CERTS.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
import trustme
from cryptography import x509

from isthmus.clock import now
from isthmus.config import Settings
from isthmus.errors import Rejected
from isthmus.server.private_files import read_private, write_private

NAMES = ("localhost", "127.0.0.1", "::1")
# Some platforms refuse server certificates that are valid for longer than 398 days.
VALID_FOR = timedelta(days=397)
RENEW_BEFORE = timedelta(days=30)


class Certificate(msgspec.Struct, frozen=True):
    """PEM files to serve HTTPS with; `ca_file` is what clients have to trust."""

    cert_file: Path
    key_file: Path
    ca_file: Path


def load_certificate(settings: Settings) -> Certificate:
    """Your own certificate when the settings name one, else the development one, made or renewed when it is due.

    Raises Rejected when a file that the settings name can't be read.
    """
    if settings.tls_cert is not None and settings.tls_key is not None:
        for path in (settings.tls_cert, settings.tls_key):
            if not path.is_file():
                raise Rejected(f"{path} is not a file: correct tls_cert and tls_key.", code="tls_files")
        return Certificate(settings.tls_cert, settings.tls_key, settings.tls_cert)
    directory = settings.data_dir / "tls"
    certificate = Certificate(directory / "server.pem", directory / "server.key", ca_file(settings.data_dir))
    authority = _authority(directory)
    if not certificate.key_file.exists() or _is_due(certificate.cert_file):
        issued = authority.issue_cert(
            *NAMES,
            common_name="localhost",
            organization_name="Isthmus",
            organization_unit_name="development server",
            not_after=(now() + VALID_FOR).replace(tzinfo=None),
        )
        write_private(certificate.key_file, issued.private_key_pem.bytes())
        write_private(certificate.cert_file, b"".join(part.bytes() for part in issued.cert_chain_pems))
    return certificate


def ca_file(data_dir: Path) -> Path:
    """Where the certificate of the development authority is."""
    return data_dir / "tls" / "ca.pem"


def _authority(directory: Path) -> trustme.CA:
    certificate, key = directory / "ca.pem", directory / "ca.key"
    if certificate.exists() and key.exists() and not _is_due(certificate):
        return trustme.CA.from_pem(certificate.read_bytes(), read_private(key))
    authority = trustme.CA(organization_name="Isthmus", organization_unit_name="development authority", path_length=0)
    (directory / "server.key").unlink(missing_ok=True)
    write_private(key, authority.private_key_pem.bytes())
    write_private(certificate, authority.cert_pem.bytes())
    certificate.chmod(0o644)
    return authority


def _is_due(path: Path) -> bool:
    """Whether a certificate is missing, or ends so soon that it has to be replaced now."""
    if not path.exists():
        return True
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    return certificate.not_valid_after_utc < now() + RENEW_BEFORE
