"""`/readyz` names the part that is away, on a real database and broker that come and go."""

import signal
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.testclient import TestClient

from cluster.stack import broker
from cluster.stack.postgres import EmbeddedPostgres
from cluster.stack.process import Recorded
from engine.storage.queries import Queries
from engine.storage.shards import ShardStore
from engine.streams.topics import PARTITIONS
from serve_apps import health
from serve_apps.access.gate import Gate
from serve_apps.access.limits import RequestLimiter


def test_readiness_names_each_part_that_is_away(
    own_postgres: tuple[EmbeddedPostgres, str, list[Recorded]], tmp_path: Path
) -> None:
    server, url, processes = own_postgres
    running, bootstrap = broker.start(tmp_path / "broker")
    queries = Queries(url)
    app = FastAPI()
    app.include_router(health.router(queries, bootstrap))
    gate = Gate(app, None, RequestLimiter(1), None, (0, 0))  # type: ignore[arg-type] # no read of a member passes here
    client = TestClient(gate, base_url="http://127.0.0.1")

    def unready() -> dict[str, str]:
        answer = client.get("/readyz")
        body = answer.json()
        assert answer.status_code == (200 if body["ready"] else 503)
        return {name: part["detail"] for name, part in body["parts"].items() if not part["ready"]}

    try:
        from engine.streams.topics import ensure_topics

        ensure_topics(bootstrap)
        assert unready() == {"shards": f"{PARTITIONS} of {PARTITIONS} partitions have no owner"}
        store = ShardStore(url, "shard-0", 600.0)
        store.reconnect()
        store.enter(range(PARTITIONS))
        store.acquire(range(PARTITIONS))
        store.close()
        assert unready() == {}
        processes[-1].end(signal.SIGQUIT, 20)
        away = unready()
        assert set(away) == {"postgres", "shards"} and "PostgreSQL does not answer" in away["postgres"]
        processes.append(server.start(urlsplit(url).port)[0])
        assert unready() == {}
        broker.stop(running)
        assert set(unready()) == {"kafka"}
        assert client.get("/healthz").json() == {"status": "ok"}
    finally:
        broker.stop(running)
        queries.close()
