"""Requests a second and latency of `GET score`, beside `GET /healthz`, which does nothing, in the same run."""

import http.client
import threading
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np


@dataclass(frozen=True, slots=True)
class Load:
    """What one load saw: requests a second, and latency in milliseconds."""

    rate: float
    p50_ms: float
    p99_ms: float


def load(base: str, paths: list[str], connections: int, seconds: float) -> Load:
    """Sends GETs in turn over keep-alive connections for a time. Raises RuntimeError for an answer that is not 200."""
    latencies: list[list[float]] = [[] for _ in range(connections)]
    failures: list[str] = []
    until = time.perf_counter() + seconds

    def work(index: int) -> None:
        host = urlsplit(base)
        connection = http.client.HTTPConnection(host.hostname or "", host.port, timeout=30)
        turn = index
        while time.perf_counter() < until and not failures:
            path = paths[turn % len(paths)]
            turn += connections
            started = time.perf_counter()
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
            latencies[index].append(time.perf_counter() - started)
            if response.status != 200:
                failures.append(f"{path} answered {response.status}: {body[:200]!r}")
        connection.close()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(connections)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(failures[0])
    spent = np.concatenate([np.array(each) for each in latencies]) * 1000
    return Load(
        len(spent) / (time.perf_counter() - started), float(np.quantile(spent, 0.5)), float(np.quantile(spent, 0.99))
    )
