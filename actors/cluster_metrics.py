"""The figures of the whole on Ray's metrics endpoint, told by the relay's process, of which there is one."""

import threading

from actors import metric_list as known
from actors.metrics import gauge
from engine.domain.model_set import MODEL_NAMES
from engine.errors import StorageError
from engine.logs import get_logger
from engine.storage.figures import ClusterFigures, Figures

_SECONDS = 10.0


class ClusterMetrics:
    """Asks the database every ten seconds. While it is away the figures stand still, and a warning says so once."""

    def __init__(self, postgres_url: str) -> None:
        self._figures = Figures(postgres_url, pool_size=1)
        self._stop = threading.Event()
        self._log = get_logger(part="cluster-metrics")
        self._owned, self._outbox = gauge(known.PARTITIONS_OWNED), gauge(known.OUTBOX_WAITING)
        self._runs, self._champion = gauge(known.RUNS), gauge(known.CHAMPION)
        self._pending, self._scored_by = gauge(known.PROMOTION_PENDING), gauge(known.PARTITIONS_SCORED_BY)
        self._told: set[tuple[str, str]] = set()
        self._versions: set[str] = set()

    def stop(self) -> None:
        """Asks `run` to return."""
        self._stop.set()

    def run(self) -> None:
        """Works until stopped."""
        away = False
        while not self._stop.is_set():
            try:
                self.tell(self._figures.read())
                away = False
            except StorageError as error:
                if not away:
                    self._log.warning("figures stand still", error=str(error))
                away = True
            self._stop.wait(_SECONDS)
        self._figures.close()

    def tell(self, figures: ClusterFigures) -> None:
        """Sets the gauges. What was told of a version that is gone becomes 0: a gauge keeps what it was last told."""
        self._owned.set(figures.partitions_owned)
        self._outbox.set(figures.outbox_waiting)
        for status, runs in figures.runs.items():
            self._runs.set(runs, {"status": status})
        champions = figures.champions
        now = set() if champions is None else {(name, champions.version(name)) for name in MODEL_NAMES}
        self._told |= now
        for name, version in self._told:
            self._champion.set(float((name, version) in now), {"model": name, "version": version})
        self._pending.set(float(figures.promotion_pending))
        self._versions |= figures.partitions_scored_by.keys()
        for version in self._versions:
            self._scored_by.set(figures.partitions_scored_by.get(version, 0), {"model_version": version})
