"""The mail server's password goes to the server whose certificate holds, and to nobody else."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from connector import alerts
from connector.channels import AlertsSection
from connector.state import StateSection, open_state
from connector.state import alerts as kept
from tests.unit.listeners import Mails, served, smtp

OURS, ANOTHER = x509.IPAddress(IPv4Address("127.0.0.1")), x509.DNSName("another.invalid")


def certificate(directory: Path, name: x509.GeneralName) -> Path:
    """A file with a key and the certificate of this name that it has signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    owner = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.invalid")])
    known = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    may = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign", "encipher_only", "decipher_only"),
        False,
    )  # fmt: skip
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(owner, owner, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=True, **may), critical=True)
        .add_extension(known, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = directory / "mail.pem"
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, *form) + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


def told(directory: Path, security: str, file: Path) -> tuple[list[str], list[str], list[str], list[Any]]:
    """What is left to tell after a run that failed, what the mail server took and heard, and what was logged as unsent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    mails = Mails([], context=context, is_tls_at_once=security == "tls")
    state = open_state(StateSection(), directory)
    with served(smtp(mails)) as port, capture_logs() as logged:
        section = AlertsSection.model_validate(
            {
                "email_to": ["ops@acme.com"], "email_from": "c@acme.com", "smtp_host": "127.0.0.1", "smtp_port": port,
                "smtp_security": security, "smtp_user": "u", "smtp_password": "p",
            }
        )  # fmt: skip
        alerts.failed(section, state, "run_failed", "a run failed", "")
    unsent = [each["error"] for each in logged if each["event"] == "alert.unsent"]
    return kept.standing(state)[0].untold, mails.taken, mails.heard, unsent


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_a_mail_server_with_a_certificate_that_nobody_vouches_for_gets_no_password_and_the_log_says_why(
    tmp_path: Path, security: str
) -> None:
    left, taken, heard, unsent = told(tmp_path, security, certificate(tmp_path, OURS))
    assert left == ["began:email:ops@acme.com"]
    assert not taken
    assert not {"AUTH", "MAIL", "DATA"} & set(heard)
    assert len(unsent) == 1
    assert "the certificate does not hold" in unsent[0]


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_a_certificate_of_an_authority_of_our_own_must_be_for_the_name_of_the_server(
    tmp_path: Path, security: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = certificate(tmp_path, ANOTHER)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    left, taken, heard, unsent = told(tmp_path, security, file)
    assert left == ["began:email:ops@acme.com"]
    assert not taken
    assert "AUTH" not in heard
    assert "IP address mismatch" in unsent[0]


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_a_certificate_of_an_authority_of_our_own_holds_where_the_environment_names_it(
    tmp_path: Path, security: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = certificate(tmp_path, OURS)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    left, taken, heard, unsent = told(tmp_path, security, file)
    assert "AUTH" in heard
    assert len(taken) == 1
    assert not left
    assert not unsent
