"""The image, without Docker: the Dockerfile is parsed and judged, and its steps are run in a folder (slow)."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from dockerfile_parse import DockerfileParser

from tests.conftest import ROOT

FILE = ROOT / "cluster" / "image" / "Dockerfile"
RUN_HERE = ("dependencies", "application", "kernels", "serving-sbom")
_STEP_SECONDS = 600


@dataclass
class Stage:
    """A stage of the build: what it is from, and its instructions in order."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)


@pytest.fixture(scope="module")
def stages() -> dict[str, Stage]:
    found: dict[str, Stage] = {}
    parser = DockerfileParser(fileobj=FILE.open("rb"))
    for step in parser.structure:
        word, value = step["instruction"], step["value"]
        if word == "FROM":
            base, _, name = value.partition(" AS ")
            found[name] = Stage(name, base)
        elif word not in ("COMMENT",) and found:
            list(found.values())[-1].steps.append((word, value))
    return found


def lineage(stages: dict[str, Stage], name: str) -> list[Stage]:
    """The stage and those it is built on, the first of them first."""
    stage = stages[name]
    return [*(lineage(stages, stage.base) if stage.base in stages else []), stage]


def copied(stage: Stage) -> Iterator[tuple[str, list[str], str]]:
    """Origin stage ("" for the context), sources and target of each COPY."""
    for word, value in stage.steps:
        if word == "COPY":
            words = value.split()
            origin = words[0].removeprefix("--from=") if words[0].startswith("--from=") else ""
            yield origin, words[bool(origin) : -1], words[-1]


def test_the_base_is_pinned_and_every_stage_is_of_it(stages: dict[str, Stage]) -> None:
    (base,) = re.findall(r"^ARG BASE=(\S+)$", FILE.read_text(), re.MULTILINE)
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", base)
    assert {lineage(stages, name)[0].base for name in stages} == {"${BASE}"}


def test_final_stages_run_as_a_user_who_owns_nothing(stages: dict[str, Stage]) -> None:
    for name in ("serving", "training"):
        users = [value for stage in lineage(stages, name) for word, value in stage.steps if word == "USER"]
        assert users == ["10001:10001"]
        assert not [value for stage in lineage(stages, name) for word, value in stage.steps if "chown" in value]


def test_what_is_installed_is_pinned_and_the_last_stages_install_nothing(stages: dict[str, Stage]) -> None:
    for stage in stages.values():
        for word, value in stage.steps:
            for command in re.split(r"&&|;", value) if word == "RUN" else ():
                if re.search(r"pip install", command):
                    assert "-c constraints.txt" in command or "--no-deps" in command, command
    for name in ("runtime", "serving", "training"):
        assert not [v for w, v in stages[name].steps if w == "RUN" and "install" in v]


def test_serving_has_no_tensorflow_and_training_has(stages: dict[str, Stage]) -> None:
    def venv(name: str) -> str:
        (origin,) = [o for o, sources, _ in copied(stages[name]) if sources == ["/opt/vitanexus/venv"]]
        return origin

    def extras(name: str) -> str:
        return " ".join(v for s in lineage(stages, name) for w, v in s.steps if w == "RUN")

    assert "--extra train" in extras(venv("training"))
    assert "--extra" not in extras(venv("serving")) and ".[local]" not in extras(venv("serving"))


def test_the_build_sees_what_it_copies_and_nothing_secret(stages: dict[str, Stage]) -> None:
    ignored = FILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert "*" in ignored
    sources = {s for stage in stages.values() for origin, names, _ in copied(stage) if not origin for s in names}
    assert sources == allowed
    assert all((ROOT / name).exists() for name in sources)
    assert not re.search(r"password|secret|--mount=type=secret|index-url", FILE.read_text(), re.IGNORECASE)


def test_the_pod_finds_what_the_image_has() -> None:
    pod = (ROOT / "cluster" / "kuberay" / "base" / "pod.yaml").read_text()
    dockerfile = FILE.read_text()
    for path in ("/opt/vitanexus/numba", "/app"):
        assert path in pod and path in dockerfile
    assert "runAsUser: 10001" in pod


def test_haproxy_is_started_by_what_the_image_has() -> None:
    settings = yaml.safe_load((ROOT / "cluster" / "kuberay" / "base" / "settings.yaml").read_text())["data"]
    script = ROOT / settings["RAY_SERVE_HAPROXY_BINARY_PATH"].removeprefix("/app/")
    assert os.access(script, os.X_OK)
    words = script.read_text().splitlines()[-1].split()
    assert words[1] == "/opt/vitanexus/venv/bin/python" and "/opt/vitanexus/venv" in FILE.read_text()
    here = [sys.executable, "-I", str(ROOT / words[3].removeprefix("/app/")), "", "", "-v"]
    said = subprocess.run(here, capture_output=True, text=True, check=True).stdout
    assert said.startswith("HAProxy version")


class Scratch:
    """Runs a stage's steps in a folder that stands for the root of the image."""

    def __init__(self, root: Path) -> None:
        self._root = root
        python = root / "bin" / "python"
        python.parent.mkdir()
        python.symlink_to(sys.executable)
        drop = ("VIRTUAL_ENV", "NUMBA_CACHE_DIR", "PYTHONPATH")
        self._environment = {name: value for name, value in os.environ.items() if name not in drop}
        self._environment["PATH"] = f"{python.parent}:{self._environment['PATH']}"

    def run(self, stage: Stage) -> None:
        """The stage's ENV, COPY and RUN in order."""
        for word, value in stage.steps:
            if word == "ENV":
                self._environ(value)
            elif word == "COPY":
                self._copy(value)
            elif word == "RUN":
                self._shell(value)

    def _environ(self, value: str) -> None:
        for name, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|(\S+))', value):
            self._environment[name] = self._here((quoted or plain).replace("${CPU}", "x86-64-v3"))
        self._environment.pop("UV_NO_CACHE", None)  # the packages of this machine's cache are the same

    def _copy(self, value: str) -> None:
        *sources, target = value.split()
        app = self._root / "app"
        app.mkdir(exist_ok=True)
        for source in sources:
            here = ROOT / source
            into = app if target == "./" else app / target
            if here.is_dir():
                shutil.copytree(here, into, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(here, into / source)

    def _shell(self, value: str) -> None:
        done = subprocess.run(
            ["/bin/sh", "-ec", self._here(value)],
            cwd=self._root / "app",
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=_STEP_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{value}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"

    def _here(self, text: str) -> str:
        return text.replace("/opt/vitanexus", f"{self._root}/opt/vitanexus")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_steps_of_the_build_make_what_the_pods_run(stages: dict[str, Stage], server_folder: Path) -> None:
    root = server_folder / "image"
    root.mkdir()
    scratch = Scratch(root)
    for name in RUN_HERE:
        scratch.run(stages[name])
    held = root / "opt" / "vitanexus"
    parts = json.loads((held / "sbom.json").read_text())["components"]
    names = {part["name"].lower() for part in parts}
    assert {"ray", "numba", "xgboost-cpu", "psycopg"} <= names and not any("tensorflow" in name for name in names)
    # a pod that has never run: the copied cache is read, and nothing is compiled again
    copy = root / "cache"
    shutil.copytree(held / "numba", copy)
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*.nbc")}
    assert len(before) > 40
    code = "from simulations.kernels import rng; from engine.scoring.hcc import kernels; import engine.scoring.trees"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(copy), "NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": ""}
    words = ["simulate", "configs/scenarios/ibnr.yaml", "--paths", "1000", "--out", str(root / "again")]
    command = [str(held / "venv" / "bin" / "python"), "-c", f"{code}; from cluster.cli import app; app({words!r})"]
    done = subprocess.run(command, cwd=root / "app", env=environment, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*.nbc")} == before
