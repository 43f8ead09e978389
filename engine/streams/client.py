"""How every Kafka client of ours is set up, and what a broker that is away turns into."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import kafka.errors
from kafka.admin import KafkaAdminClient

from engine.errors import StreamError

COMMON: dict[str, Any] = {"metrics_enabled": False, "api_version": None, "bootstrap_timeout_ms": 10_000}


@contextmanager
def broker_errors(bootstrap: str, doing: str) -> Iterator[None]:
    """Turns the client library's errors into StreamError, which says what was being done and where."""
    try:
        yield
    except (kafka.errors.KafkaError, OSError) as error:
        raise StreamError(f"cannot {doing}: the broker at {bootstrap} does not serve it: {error!r}") from error


@contextmanager
def admin_client(bootstrap: str) -> Iterator[Any]:
    """An admin client, closed afterwards. Raises StreamError where the broker is away."""
    with broker_errors(bootstrap, "administer topics"):
        admin = KafkaAdminClient(bootstrap_servers=bootstrap, **{k: COMMON[k] for k in ("bootstrap_timeout_ms",)})
        try:
            yield admin
        finally:
            admin.close()
