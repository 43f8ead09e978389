"""The figures of a running installation, read where Prometheus reads them."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from actors.metric_list import SERIES
from cluster.stack.process import ask_directly
from engine.errors import StackError

_DISCOVERY = "prom_metrics_service_discovery.json"
_TIMEOUT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One series at one moment."""

    series: str
    labels: Mapping[str, str]
    value: float


def targets(session: Path) -> list[str]:
    """The metrics addresses of a Ray session's nodes, as Ray lists them. Raises StackError where it does not."""
    path = session / _DISCOVERY
    try:
        return [str(target) for job in json.loads(path.read_text()) for target in job["targets"]]
    except (OSError, ValueError, KeyError) as error:
        raise StackError(f"{path} lists no metrics to read: {error}; is Ray running here?") from error


def session_of(pid: int | None) -> Path:
    """The folder of the Ray session that a process started; of the newest one where none is named."""
    folder = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray"  # noqa: S108 - where Ray keeps its sessions
    found = sorted(folder.glob("session_*" if pid is None else f"session_*_{pid}"), key=lambda path: path.name)
    return found[-1] if found else folder / "session_latest"


def scrape(addresses: Iterable[str]) -> tuple[list[Sample], list[str]]:
    """Every declared series of the addresses, and the addresses that did not answer.

    Labels that Ray adds and the declaration does not name are left out.
    """
    samples: list[Sample] = []
    silent = []
    for address in addresses:
        try:
            samples += _declared(ask_directly(f"http://{address}/metrics", _TIMEOUT_SECONDS).decode())
        except OSError:
            silent.append(address)
    return samples, silent


def _declared(text: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            metric = SERIES.get(sample.name)
            if metric is not None:
                kept = {n: v for n, v in sample.labels.items() if n in metric.labels or n == "le"}
                yield Sample(sample.name, kept, float(sample.value))


class Reading:
    """Samples of one moment, asked for by series and labels."""

    def __init__(self, samples: Sequence[Sample], at: float) -> None:
        self.at = at
        self._by_series: dict[str, list[Sample]] = {}
        for sample in samples:
            self._by_series.setdefault(sample.series, []).append(sample)

    def total(self, series: str, **labels: str) -> float:
        """The sum over the series with these labels; 0 where there is none."""
        return sum(sample.value for sample in self._of(series, labels))

    def most(self, series: str, **labels: str) -> float | None:
        """The largest of the series with these labels; None where there is none."""
        return max((sample.value for sample in self._of(series, labels)), default=None)

    def values(self, series: str, label: str) -> list[str]:
        """The values of a label of the series that are not 0, in order."""
        return sorted({s.labels[label] for s in self._by_series.get(series, []) if label in s.labels and s.value})

    def quantile(self, series: str, level: float, **labels: str) -> float | None:
        """The upper end of the bucket that holds the quantile of a histogram; None while it is empty."""
        counts: dict[float, float] = {}
        for sample in self._of(f"{series}_bucket", labels):
            end = float(sample.labels["le"])
            counts[end] = counts.get(end, 0.0) + sample.value
        whole = max(counts.values(), default=0.0)
        return next((end for end, count in sorted(counts.items()) if whole and count >= level * whole), None)

    def rate(self, before: "Reading | None", series: str, **labels: str) -> float | None:
        """Growth a second of a counter since an earlier reading; None without one, or where it began anew."""
        if before is None or self.at <= before.at:
            return None
        grown = self.total(series, **labels) - before.total(series, **labels)
        return grown / (self.at - before.at) if grown >= 0 else None

    def _of(self, series: str, labels: Mapping[str, str]) -> Iterator[Sample]:
        for sample in self._by_series.get(series, []):
            if all(sample.labels.get(name) == value for name, value in labels.items()):
                yield sample
