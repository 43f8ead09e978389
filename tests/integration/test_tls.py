"""With a certificate HAProxy speaks TLS 1.3 and nothing older: the real binary, by the launcher Ray is given."""

import datetime as dt
import os
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cluster.stack import serving_environment
from cluster.stack.process import accepts, free_port
from engine.errors import StackError
from tests.waiting import PATIENCE

_CONFIGURATION = """
defaults
    mode http
    timeout client 5s
    timeout connect 5s
    timeout server 5s
frontend http_frontend
    bind 127.0.0.1:{public}
    http-request return status 200 content-type text/plain string ok
frontend prometheus
    bind :{page}
    http-request return status 200
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of our own for localhost, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "chain.pem").write_bytes(made.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(private)
    return folder / "chain.pem", folder / "key.pem"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process's environment as it was, whatever `prepare` sets."""
    for name in [n for n in os.environ if n.startswith("RAY_SERVE")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "environ", dict(os.environ))


@pytest.fixture
def haproxy(certificate: tuple[Path, Path], environment: None, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """HAProxy by the launcher Ray is given; its public port, and the folder of its files."""
    chain, key = certificate
    if not serving_environment.prepare(tmp_path, str(chain), str(key)):
        pytest.skip("no HAProxy on this machine")
    launcher = os.environ["RAY_SERVE_HAPROXY_BINARY_PATH"]
    public = free_port()
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text(_CONFIGURATION.format(public=public, page=free_port()))
    child = subprocess.Popen([launcher, "-db", "-f", str(configuration)])
    deadline = time.monotonic() + PATIENCE
    while not accepts(public):
        assert child.poll() is None and time.monotonic() < deadline, "HAProxy did not start"
        time.sleep(0.05)
    yield public, Path(launcher).parent
    child.terminate()
    child.wait(PATIENCE)
    serving_environment.clear(tmp_path)


def asked(port: int, chain: Path, version: ssl.TLSVersion) -> str:
    context = ssl.create_default_context(cafile=str(chain))
    context.minimum_version = context.maximum_version = version
    with urllib.request.urlopen(f"https://localhost:{port}/", timeout=5, context=context) as answer:
        return str(answer.read().decode())


def test_tls_1_3_and_nothing_older_is_spoken(haproxy: tuple[int, Path], certificate: tuple[Path, Path]) -> None:
    port, folder = haproxy
    assert asked(port, certificate[0], ssl.TLSVersion.TLSv1_3) == "ok"
    with pytest.raises(OSError, match=r"(?i)protocol version|handshake|alert"):
        asked(port, certificate[0], ssl.TLSVersion.TLSv1_2)
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://localhost:{port}/", timeout=5)
    assert (folder / "tls.pem").stat().st_mode & 0o777 == 0o600


def test_a_certificate_that_is_not_there_is_named(environment: None, tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"VITANEXUS_HTTP_TLS_CERTIFICATE is '/nowhere/chain\.pem'"):
        serving_environment.prepare(tmp_path, "/nowhere/chain.pem", "/nowhere/key.pem")
    serving_environment.clear(tmp_path)
