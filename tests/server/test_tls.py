"""The development certificate: made once, renewed in time, for this machine's own names."""

from __future__ import annotations

import ssl
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509

from isthmus.clock import now
from isthmus.config import Settings
from isthmus.errors import Rejected
from isthmus.server import tls
from isthmus.server.tls import Certificate, ca_file, load_certificate


def served(certificate: Certificate) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate.cert_file.read_bytes())


def test_it_is_made_for_this_machine_only(tmp_path: Path) -> None:
    certificate = load_certificate(Settings(data_dir=tmp_path))
    names = served(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("127.0.0.1"), ip_address("::1")]
    assert now() + timedelta(days=390) < served(certificate).not_valid_after_utc < now() + timedelta(days=398)
    ssl.create_default_context(cafile=certificate.ca_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert_file, certificate.key_file)


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    load_certificate(Settings(data_dir=tmp_path))
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "tls").glob("*.key")} == {0o600}


def test_it_stays_the_same_until_it_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data_dir=tmp_path)
    first = served(load_certificate(settings))
    authority = ca_file(tmp_path).read_bytes()
    assert served(load_certificate(settings)) == first
    monkeypatch.setattr(tls, "RENEW_BEFORE", tls.VALID_FOR + timedelta(days=1))
    assert served(load_certificate(settings)) != first
    assert ca_file(tmp_path).read_bytes() == authority


def test_a_new_authority_signs_a_new_certificate(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    load_certificate(settings)
    ca_file(tmp_path).unlink()
    certificate = load_certificate(settings)
    authority = x509.load_pem_x509_certificate(certificate.ca_file.read_bytes())
    served(certificate).verify_directly_issued_by(authority)


def test_ones_own_certificate_is_used_as_it_is(tmp_path: Path) -> None:
    made = load_certificate(Settings(data_dir=tmp_path / "other"))
    own = Settings(data_dir=tmp_path / "mine", tls_cert=made.cert_file, tls_key=made.key_file)
    assert load_certificate(own) == Certificate(made.cert_file, made.key_file, made.cert_file)
    assert not (tmp_path / "mine").exists()
    with pytest.raises(Rejected, match="is not a file"):
        load_certificate(Settings(data_dir=tmp_path, tls_cert=tmp_path / "none.pem", tls_key=made.key_file))
