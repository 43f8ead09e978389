"""Fuzzing that follows the code: `python -m tests.fuzz.guided --seconds 20`, the last part of `make fuzz`.

libFuzzer (through atheris) changes bytes and keeps what reaches new branches of our readers: it finds what no list of
odd values foresees. Each target begins with the good files of tests/fuzz/good. A finding ends its target with the path
of the input. What calls numba's kernels is left to Hypothesis: they cannot be followed.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["cluster.simulation", "simulations", "engine.interop", "engine.streams"]):
    from cluster.simulation import yaml12
    from cluster.simulation.files import Inputs, read_scenario
    from engine.domain.events import EVENT_KINDS
    from engine.errors import InvalidRecordError, VitaNexusError
    from engine.interop import sources
    from engine.streams.codec import decode
    from simulations.scenario import IbnrScenario, PoolScenario, parse
    from tests.fuzz.broken import GOOD

FOUND = Path(__file__).resolve().parents[2] / "build" / "fuzz"
NOW_MS = 1_767_225_600_000
Target = Callable[[Path, bytes], None]


def _source(source: str, name: str) -> Target:
    def target(folder: Path, data: bytes) -> None:
        (folder / name).write_bytes(data)
        for event in sources.read(source, folder):
            with contextlib.suppress(InvalidRecordError):  # a dead letter; the rows behind it count as well
                decode(event.kind, json.dumps(event.fields).encode(), NOW_MS)

    return target


def _table(scenario: str, name: str) -> Target:
    def target(folder: Path, data: bytes) -> None:
        (folder / name).write_bytes(data)
        spec, _ = read_scenario(folder / scenario, {})
        inputs = Inputs(folder)
        if isinstance(spec, IbnrScenario):
            inputs.triangle(spec)
        elif isinstance(spec, PoolScenario):
            inputs.portfolio(spec)

    return target


def _scenario(folder: Path, data: bytes) -> None:
    (folder / "s.yaml").write_bytes(data)
    read_scenario(folder / "s.yaml", {})


def _document(folder: Path, data: bytes) -> None:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):  # what is no JSON never comes to `parse`
        return
    parse(document)


def _payload(folder: Path, data: bytes) -> None:
    if data:
        decode(EVENT_KINDS[data[0] % len(EVENT_KINDS)], data[1:], NOW_MS)


TARGETS: Mapping[str, tuple[Target, str]] = {
    **{
        f"{source}/{path.name}": (_source(source, path.name), f"{source}/{path.name}")
        for source in sources.SOURCES
        for path in sorted((GOOD / source).glob("*.csv"))
    },
    "scenarios": (_scenario, "scenarios/*.yaml"),
    "documents": (_document, ""),
    "triangle": (_table("triangle.yaml", "triangle.csv"), "scenarios/triangle.csv"),
    "claims": (_table("claims.yaml", "claims.csv"), "scenarios/claims.csv"),
    "portfolio": (_table("premium.yaml", "portfolio.csv"), "scenarios/portfolio.csv"),
    "payloads": (_payload, ""),
}
"""What is fuzzed, and its good files below tests/fuzz/good."""


def _seeds(name: str, pattern: str, corpus: Path) -> None:
    """Puts the target's good inputs where libFuzzer begins."""
    for number, path in enumerate(sorted(GOOD.glob(pattern)) if pattern else ()):
        (corpus / str(number)).write_bytes(path.read_bytes())
    for number, path in enumerate(sorted((GOOD / "scenarios").glob("*.yaml")) if name == "documents" else ()):
        (corpus / str(number)).write_text(json.dumps(yaml12.load(path.read_text()), default=str))


def _one(name: str, seconds: int) -> None:
    """Fuzzes a target in this process, which libFuzzer ends."""
    target, pattern = TARGETS[name]
    with tempfile.TemporaryDirectory() as made:
        folder, corpus = Path(made), Path(made) / "corpus"
        corpus.mkdir()
        _seeds(name, pattern, corpus)
        for path in (GOOD / Path(pattern).parent).glob("*") if pattern else ():
            (folder / path.name).write_bytes(path.read_bytes())

        def once(data: bytes) -> None:
            with contextlib.suppress(VitaNexusError):
                target(folder, data)

        FOUND.mkdir(parents=True, exist_ok=True)
        limits = [
            f"-artifact_prefix={FOUND}/",
            f"-max_total_time={seconds}",
            "-max_len=4096",
            "-timeout=60",
            "-rss_limit_mb=4096",
        ]
        atheris.Setup([sys.argv[0], *limits, "-verbosity=0", "-print_final_stats=1", str(corpus)], once)
        atheris.Fuzz()


def _all(seconds: int) -> Iterator[str]:
    for name in TARGETS:
        words = [sys.executable, "-m", "tests.fuzz.guided", "--target", name, "--seconds", str(seconds)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        runs = next((line.split()[-1] for line in done.stderr.splitlines() if "number_of_executed_units" in line), "?")
        print(f"{name}: {runs} inputs", flush=True)  # noqa: T201
        if done.returncode:
            yield f"{name}\n{done.stdout[-4000:]}{done.stderr[-2000:]}"


def main() -> None:
    """Every target for so many seconds, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=20, help="of each target")
    parser.add_argument("--target", choices=TARGETS)
    given = parser.parse_args()
    if given.target:
        _one(given.target, given.seconds)
    found = list(_all(given.seconds))
    sys.exit("\n\n".join(found) or 0)


if __name__ == "__main__":
    main()
