"""How every Kafka client of ours is set up, and what a broker that is away turns into."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import kafka.errors
from kafka.admin import KafkaAdminClient

from engine.errors import StreamError

BOOTSTRAP_MS = 10_000
"""How long a client tries to reach the broker before it gives up."""


@contextmanager
def broker_errors(bootstrap: str, doing: str) -> Iterator[None]:
    """Turns the client library's errors into StreamError, which says what was being done and where."""
    try:
        yield
    except (kafka.errors.KafkaError, OSError) as error:
        raise StreamError(f"cannot {doing}: the broker at {bootstrap} does not serve it: {error!r}") from error


@contextmanager
def admin_client(bootstrap: str, timeout_ms: int = BOOTSTRAP_MS) -> Iterator[Any]:
    """An admin client, closed afterwards. Raises StreamError where the broker is away."""
    with broker_errors(bootstrap, "administer topics"):
        admin = KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=timeout_ms)
        try:
            yield admin
        finally:
            admin.close()
