"""The HTTP application as it is served, by uvicorn on loopback, over a real PostgreSQL that a real shard has filled.

Members of odd number are of the tenant `acme`, the others of the default tenant. The shard has stopped: reads come from
PostgreSQL.
"""

import datetime as dt
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import jwt
import psycopg
import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from cluster.stack import broker as embedded
from cluster.stack import postgres
from cluster.stack.process import free_port
from engine.domain.events import ENROLLMENT, SourceEvent
from engine.domain.population import Population
from engine.interop import synthetic
from engine.learning import registry
from engine.settings import load_rules
from engine.storage.migrate import migrate
from engine.storage.models import ModelStore
from engine.storage.queries import Queries
from engine.streams import topics
from engine.streams.producer import EventProducer
from serve_apps.access.caller import SCOPES
from serve_apps.access.plan import AccessPlan
from tests.shard_process import ShardProcess, log_ends, plan, settle
from tests.waiting import PATIENCE

if TYPE_CHECKING:  # it imports Ray, which most tests do without
    from serve_apps import gateway

ISSUER, AUDIENCE, TENANT = "https://issuer.test", "vitanexus", "acme"
MEMBERS = 60
OURS, THEIRS = "M0000003", "M0000004"
"""A member of TENANT, and one of the default tenant."""


class Issuer:
    """An issuer of tokens with an RSA and an elliptic-curve key, and its JWK set in a file."""

    def __init__(self, folder: Path) -> None:
        self.rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.jwks = folder / "jwks.json"
        self.publish({"rsa-1": self.rsa, "ec-1": self.ec})

    def publish(self, keys: dict[str, Any]) -> None:
        """Writes the set anew with these keys."""
        self.jwks.write_text(json.dumps({"keys": [self.public(kid, key) for kid, key in keys.items()]}))

    @staticmethod
    def public(kid: str, key: Any) -> dict[str, Any]:
        """The public half as a JWK."""
        kind = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
        return kind.to_jwk(key.public_key(), as_dict=True) | {"kid": kid, "use": "sig"}

    def claims(self, **other: Any) -> dict[str, Any]:
        """The claims of a good token; None takes a claim away."""
        now = int(time.time())
        usual = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "user-1",
            "client_id": "app-1",
            "tenant": TENANT,
            "scope": " ".join(SCOPES),
            "jti": uuid.uuid4().hex,
            "iat": now,
            "exp": now + 300,
        }
        return {name: value for name, value in (usual | other).items() if value is not None}

    def token(self, algorithm: str = "ES256", headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A signed token."""
        key, kid = (self.rsa, "rsa-1") if algorithm == "RS256" else (self.ec, "ec-1")
        return jwt.encode(self.claims(**claims), key, algorithm, headers={"kid": kid, **(headers or {})})


@dataclass(frozen=True)
class Service:
    """A running application."""

    url: str
    issuer: Issuer
    database: str
    args: "gateway.Args"

    def client(self, token: str | None = None, **claims: Any) -> httpx2.Client:
        """A client with the given token, or one of these claims."""
        bearer = self.issuer.token(**claims) if token is None else token
        return httpx2.Client(base_url=self.url, timeout=30, headers={"Authorization": f"Bearer {bearer}"})

    def bare(self) -> httpx2.Client:
        """A client without a token."""
        return httpx2.Client(base_url=self.url, timeout=30)

    def audited(self, **columns: str) -> list[dict[str, Any]]:
        """Audit events with these values, oldest first, once all have arrived that were recorded before."""
        where = " AND ".join(f"{name} = %({name})s" for name in columns) or "true"
        query = f"SELECT * FROM audit_events WHERE {where} ORDER BY occurred_at"
        time.sleep(0.3)
        with psycopg.connect(self.database, row_factory=psycopg.rows.dict_row) as connection:
            return connection.execute(query, columns).fetchall()


ODD = ("lab80/0001", "lab80 0002", "lab80-Zo\u00eb", "lab80%25", "a/score", "tab\there")
"""Ids of further members of TENANT, as some payers have them: docs/events.md allows any text."""


def _events() -> Iterator[SourceEvent]:
    example = next(e for e in synthetic.month(Population.generate(11, 1), dt.date(2025, 1, 1), days=1))
    for member in ODD:
        own = {"member_id": member, "event_id": f"enrol-{member}", "tenant_id": TENANT, "cohort_id": f"of {member}"}
        yield SourceEvent(ENROLLMENT, {**example.fields, **own})
    for event in synthetic.month(Population.generate(11, MEMBERS), dt.date(2025, 1, 1), days=2, claims=200):
        if event.kind is ENROLLMENT and int(event.member_id[1:]) % 2:
            yield replace(event, fields={**event.fields, "tenant_id": TENANT})
        else:
            yield event


@pytest.fixture(scope="session")
def fed_database(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with members of two tenants, their events and scores, and the champions that made them."""
    folder = tmp_path_factory.mktemp("fed")
    name = f"fed_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = postgres_server.removesuffix(postgres.DATABASE) + name
    migrate(url)
    store = ModelStore(url, pool_size=1)
    for card in registry.cards(registry.MODELS):
        store.register(card.name, card.version, card.digest, registry.told(card))
    store.applied(store.decide(registry.newest(registry.MODELS), "installation", "first"))
    store.close()
    server, bootstrap = embedded.start(folder / "broker")
    try:
        topics.ensure_topics(bootstrap)
        with EventProducer(bootstrap) as producer:
            producer.send_all(_events())
        shard = ShardProcess(plan("shard-0", url, bootstrap, poll_records=20_000), folder)
        for day in (3, 4, 5):  # the daily batch, thrice: a history
            settle(url, bootstrap, int(dt.datetime(2025, 1, day, tzinfo=dt.UTC).timestamp() * 1000))
        assert log_ends(bootstrap)
        assert shard.finish() == 0
    finally:
        embedded.stop(server)
    return url


@contextmanager
def served(args: "gateway.Args", app: Any = None) -> Iterator[str]:
    """The application on a free port of loopback, until the context ends; yields its address."""
    from serve_apps import gateway
    from serve_apps.scores import Champions

    made = gateway.application(args, Champions(args.rules, args.models, args.postgres_url)) if app is None else app
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(made, host="127.0.0.1", port=port, log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while not server.started:
        assert thread.is_alive() and time.monotonic() < deadline, "the application did not start"
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the application did not stop"


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("issuer"))


@pytest.fixture(scope="session")
def make_args(
    fed_database: str, issuer: Issuer, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., "gateway.Args"]:
    """Arguments of an application that authenticates; keywords change its plan."""

    from serve_apps import gateway

    def make(**access: Any) -> gateway.Args:
        usual = {
            "jwks": str(issuer.jwks),
            "issuer": ISSUER,
            "audience": AUDIENCE,
            "requests_per_minute": 100_000,
            "denylist_seconds": 0.2,
            "audit_folder": str(tmp_path_factory.mktemp("audit")),
        }
        return gateway.Args(
            postgres_url=fed_database,
            bootstrap="127.0.0.1:1",
            rules=load_rules(),
            models=registry.MODELS,
            access=AccessPlan(**(usual | access)),
        )

    return make


@pytest.fixture(scope="session")
def service(make_args: Callable[..., "gateway.Args"], issuer: Issuer) -> Iterator[Service]:
    """The application with authentication on."""
    args = make_args()
    with served(args) as url:
        yield Service(url, issuer, args.postgres_url, args)


@pytest.fixture(scope="session")
def queries(fed_database: str) -> Iterator[Queries]:
    made = Queries(fed_database, pool_size=1)
    yield made
    made.close()
