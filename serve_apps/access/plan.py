"""What the gateway is made from: plain values, handed down by the composition root."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from engine.errors import SettingsError
from engine.settings import Settings

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MEGABYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class AccessPlan:
    """How requests are admitted. An empty `jwks` turns authentication off, and then only loopback is served.

    `jwks` is an https address (http on loopback) or a file. Sizes in bytes, times in seconds. `audit_folder` holds the
    audit events that PostgreSQL has not taken yet; each node has its own.
    """

    jwks: str = ""
    issuer: str = ""
    audience: str = ""
    leeway_seconds: float = 30.0
    keys_seconds: float = 300.0
    denylist_seconds: float = 5.0
    requests_per_minute: int = 1000
    redis_url: str = ""
    body_bytes: int = MEGABYTE
    bulk_body_bytes: int = 32 * MEGABYTE
    cors_origins: tuple[str, ...] = ()
    tls: bool = False
    audit_queue: int = 10_000
    audit_wait_seconds: float = 5.0
    audit_folder: str = ""

    def __post_init__(self) -> None:
        if not self.jwks:
            return
        for name in ("issuer", "audience"):
            if not getattr(self, name):
                raise SettingsError(
                    f"VITANEXUS_AUTH_{name.upper()} is empty: VITANEXUS_AUTH_JWKS is set, and tokens are checked by it"
                )
        if self.jwks.startswith("http://") and not _on_loopback(self.jwks):
            raise SettingsError(f"VITANEXUS_AUTH_JWKS is {self.jwks!r}: keys come over https, or from this machine")

    @property
    def authenticates(self) -> bool:
        """Whether tokens are asked for."""
        return bool(self.jwks)


def plan_of(settings: Settings, state_directory: str) -> AccessPlan:
    """How requests are admitted by the settings."""
    auth, limits, audit = settings.auth, settings.limits, settings.audit
    remote = auth.jwks.startswith(("https://", "http://"))
    return AccessPlan(
        jwks=auth.jwks if remote or not auth.jwks else str(Path(auth.jwks).resolve()),
        issuer=auth.issuer,
        audience=auth.audience,
        leeway_seconds=auth.leeway_seconds,
        keys_seconds=auth.keys_seconds,
        denylist_seconds=auth.denylist_seconds,
        requests_per_minute=limits.requests_per_minute,
        redis_url=limits.redis_url.get_secret_value(),
        body_bytes=limits.body_bytes,
        bulk_body_bytes=limits.bulk_body_bytes,
        cors_origins=tuple(settings.http.cors_origins.split()),
        tls=bool(settings.http.tls_certificate),
        audit_queue=audit.queue,
        audit_wait_seconds=audit.wait_seconds,
        audit_folder=audit.folder or (str(Path(state_directory) / "audit") if state_directory else ""),
    )


def _on_loopback(url: str) -> bool:
    return urlsplit(url).hostname in LOOPBACK


def check_reach(host: str, plan: AccessPlan) -> None:
    """Raises SettingsError where an application without authentication would be served beyond this machine."""
    if not plan.authenticates and host not in LOOPBACK:
        raise SettingsError(
            f"VITANEXUS_HTTP_HOST is {host!r} and VITANEXUS_AUTH_JWKS is empty: without authentication only loopback "
            "is served; name the keys of your token issuer, or bind to 127.0.0.1"
        )
