"""How often a caller may ask: a sliding minute, counted in Redis for all replicas, or in this process."""

import time
from typing import NamedTuple

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, Storage
from limits.aio.strategies import MovingWindowRateLimiter, RateLimiter, SlidingWindowCounterRateLimiter
from limits.errors import StorageError
from limits.storage import storage_from_string

from engine.errors import SettingsError
from engine.logs import get_logger

_REDIS_SECONDS = 0.5
_AWAY_SECONDS = 5.0
_LABELS = ("redis://", "rediss://", "unix://")


class Allowance(NamedTuple):
    """What is left to a caller; `reset` seconds from now more is."""

    admitted: bool
    remaining: int
    reset: int


def _shared(url: str) -> Storage:
    if not url.startswith(_LABELS):
        raise SettingsError(
            f"VITANEXUS_LIMITS_REDIS_URL is {url.split('@')[-1]!r}: must begin with {' or '.join(_LABELS)}"
        )
    address = url.replace("unix://", "redis+unix://", 1)
    options = {"socket_timeout": _REDIS_SECONDS, "socket_connect_timeout": _REDIS_SECONDS}
    made = storage_from_string(f"async+{address}", implementation="redispy", wrap_exceptions=True, **options)
    assert isinstance(made, Storage)
    return made


class RequestLimiter:
    """Admits `per_minute` requests in any 60 seconds of each key.

    While Redis is away each replica counts for itself: a limit that fails open would invite whoever can break Redis,
    one that fails shut would make Redis a single point of failure.
    """

    def __init__(self, per_minute: int, redis_url: str = "") -> None:
        self.per_minute = per_minute
        self._item = RateLimitItemPerMinute(per_minute)
        self._own = MovingWindowRateLimiter(MemoryStorage())  # exact, and in memory the quickest as well
        self._all: RateLimiter = SlidingWindowCounterRateLimiter(_shared(redis_url)) if redis_url else self._own
        self._away_until = 0.0
        self._log = get_logger(part="limits")
        self.policy = f'"user";q={per_minute};w=60'.encode()

    async def admit(self, key: str) -> Allowance:
        """Counts one request of the key, and says whether it is admitted."""
        if self._all is not self._own and time.monotonic() >= self._away_until:
            try:
                return await self._counted(self._all, key)
            except StorageError as error:
                self._away_until = time.monotonic() + _AWAY_SECONDS
                self._log.warning("Redis is away: this replica limits by its own count", error=str(error))
        return await self._counted(self._own, key)

    async def _counted(self, limiter: RateLimiter, key: str) -> Allowance:
        admitted = await limiter.hit(self._item, key)
        left = await limiter.get_window_stats(self._item, key)
        return Allowance(admitted, left.remaining, max(1, round(left.reset_time - time.time())))
