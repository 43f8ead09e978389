"""Peak memory of this process and everything it started."""

import threading
from types import TracebackType

import psutil

_SAMPLE_SECONDS = 3.0


class PeakMemory:
    """Samples, every three seconds, the sum of proportional set sizes (shared pages counted once) of the process tree.

    Children in sessions of their own stay in the tree, so PostgreSQL, the broker and Ray are all counted.
    """

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="memory", daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join(timeout=5)

    def _sample(self) -> None:
        while not self._done.wait(_SAMPLE_SECONDS):
            self.peak_bytes = max(self.peak_bytes, tree_bytes())


def tree_bytes() -> int:
    """Memory of this process and its descendants now, in bytes: proportional set size, RSS where that is denied."""
    me = psutil.Process()
    return sum(_bytes(process) for process in [me, *me.children(recursive=True)])


def _bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
