"""Puts the gateway together around an application."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

from starlette.middleware.cors import CORSMiddleware

from engine.errors import SettingsError
from engine.logs import get_logger
from engine.storage.audit import PostgresAuditStore
from engine.storage.idempotency import IdempotencyKeys
from engine.storage.queries import Queries
from engine.storage.tokens import DeniedTokens
from serve_apps.access.audit_trail import AuditTrail
from serve_apps.access.gate import Gate
from serve_apps.access.idempotency import Idempotency
from serve_apps.access.keys import KeySet
from serve_apps.access.limits import RequestLimiter
from serve_apps.access.plan import AccessPlan
from serve_apps.access.reads import Reads
from serve_apps.access.spool import Spool
from serve_apps.access.tokens import DenyList, TokenVerifier
from serve_apps.asgi import App

WRITES = ("/v1/premiums/recommendation", "/v1/simulations")
"""Paths whose POST leaves something behind, and so takes an Idempotency-Key."""
_CORS_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "X-Purpose-Of-Use")
_CORS_EXPOSED = ("ETag", "Location", "RateLimit", "RateLimit-Policy", "Retry-After", "Deprecation", "Sunset")


class Access:
    """The gateway of one replica: `reads` for the routes, `wrap` around the application, `running` while it serves."""

    def __init__(self, plan: AccessPlan, postgres_url: str, queries: Queries) -> None:
        if not plan.audit_folder:
            raise SettingsError("VITANEXUS_AUDIT_FOLDER is empty: audit events need a place until PostgreSQL has them")
        self._plan, self._postgres_url = plan, postgres_url
        self._store = PostgresAuditStore(postgres_url)
        self._trail = AuditTrail(self._store, Spool(Path(plan.audit_folder)), plan.audit_queue, plan.audit_wait_seconds)
        self.reads = Reads(self._trail, queries.tenant_of)
        self._tasks: list[Coroutine[Any, Any, None]] = []
        self._log = get_logger(part="gateway")

    @property
    def audit_waiting(self) -> int:
        """Audit events that PostgreSQL has not taken yet."""
        return self._trail.waiting

    def _verifier(self) -> TokenVerifier | None:
        plan = self._plan
        if not plan.authenticates:
            self._log.warning("no authentication is configured: only loopback is served (VITANEXUS_AUTH_JWKS)")
            return None
        keys = KeySet(plan.jwks, plan.keys_seconds)
        denied = DenyList(DeniedTokens(self._postgres_url, pool_size=1).current, plan.denylist_seconds)
        self._tasks += [keys.keep_fresh(), denied.keep_fresh()]
        return TokenVerifier(keys, denied, plan.issuer, plan.audience, plan.leeway_seconds)

    def wrap(self, app: App) -> App:
        """The application behind the gateway."""
        plan = self._plan
        limiter = RequestLimiter(plan.requests_per_minute, plan.redis_url)
        kept = Idempotency(app, IdempotencyKeys(self._postgres_url, pool_size=2), WRITES)
        bodies = (plan.body_bytes, plan.bulk_body_bytes)
        gate: App = Gate(kept, self._verifier(), limiter, self.reads, bodies, plan.tls)
        if plan.cors_origins:
            gate = CORSMiddleware(
                gate,
                allow_origins=plan.cors_origins,
                allow_methods=("GET", "POST", "DELETE"),
                allow_headers=_CORS_HEADERS,
                expose_headers=_CORS_EXPOSED,
            )
        return gate

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The application's lifespan: keys and revoked tokens kept fresh, audit events written; flushed at the end."""
        tasks = [asyncio.create_task(task) for task in self._tasks]
        try:
            async with self._trail.running():
                yield
        finally:
            for task in tasks:
                task.cancel()
            self._store.close()
