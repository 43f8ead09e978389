"""What machine a figure was measured on, and how a call is timed."""

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import psutil

_PACKAGES = ("ray", "kafka-python", "psycopg", "xgboost-cpu", "numba", "numpy")


def describe() -> dict[str, str]:
    """Processor, cores, memory, load before the run, system, and the versions that matter."""
    cpuinfo = Path("/proc/cpuinfo")
    models = [line.split(":")[1].strip() for line in _lines(cpuinfo) if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []


def seconds(work: Callable[[], Any], runs: int) -> float:
    """Median wall time of `runs` calls after a first one, which compiles and warms."""
    work()
    taken = []
    for _ in range(runs):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return median(taken)
