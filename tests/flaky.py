"""Finds tests that fail now and then: `python -m tests.flaky --rounds 10`, or `make flaky N=10`.

Runs the integration and end-to-end tests again and again, each time in another order, with as many busy loops beside
them as the machine has cores, and prints which failed how often. A test that fails here waits for a time where it
should wait for a condition, or the product has a fault: either is mended, never repeated until it passes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "build" / "flaky"


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """So many processes that take a core each, until the context ends."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def failed(report: Path) -> list[str]:
    """The tests that a JUnit report says have failed or could not be set up."""
    if not report.is_file():
        return ["the run itself"]
    cases = ElementTree.parse(report).getroot().iter("testcase")
    bad = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    return [f"{case.get('classname', '').replace('.', '/')}::{case.get('name')}" for case in bad]


def rounds(count: int, paths: Sequence[str], first: int = 1) -> Counter[str]:
    """How often each test has failed in `count` rounds. The order of a round is that of its number."""
    found: Counter[str] = Counter()
    console = Console()
    OUT.mkdir(parents=True, exist_ok=True)
    # one of its own: another pytest of this user would shut the folder above to the user PostgreSQL runs as
    temporary = Path(tempfile.mkdtemp(prefix="vitanexus-flaky-")) / "of"
    for number in range(first, first + count):
        report, log = OUT / f"round-{number}.xml", OUT / f"round-{number}.log"
        report.unlink(missing_ok=True)
        order = ["--random-order", f"--random-order-seed={number}"]
        told = [f"--junitxml={report}", f"--basetemp={temporary}"]
        words = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", *order, *told, *paths]
        begun = time.monotonic()
        with log.open("w") as output:
            code = subprocess.run(words, cwd=ROOT, stdout=output, stderr=output, check=False).returncode
        names = failed(report) if code else []
        found.update(names)
        console.print(f"round {number}: {len(names)} failed, {time.monotonic() - begun:.0f} s, {log}")
    return found


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--first", type=int, default=1, help="number of the first round, which decides its order")
    parser.add_argument("--loops", type=int, default=os.cpu_count() or 1, help="busy loops beside the tests")
    parser.add_argument("paths", nargs="*", default=["tests/integration", "tests/e2e"])
    asked = parser.parse_args()
    with busy(asked.loops):
        found = rounds(asked.rounds, asked.paths, asked.first)
    table = Table("test", f"failures in {asked.rounds} rounds")
    for name, count in found.most_common():
        table.add_row(name, str(count))
    Console().print(table)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
