"""Rules of ours that no schema states: what every pod of the cluster must have, and what no manifest may hold."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cluster.kuberay.findings import Finding, name_of
from cluster.kuberay.schemas import pod_templates

_PINNED = re.compile(r"^[^@\s]+(:v?\d[\w.+-]*|@sha256:[0-9a-f]{64}|:v?\d[\w.+-]*@sha256:[0-9a-f]{64})$")
_SECRET_NAME = re.compile(r"password|passwd|secret|token|api_?key|private_?key|credential", re.IGNORECASE)
_NOT_SECRET = re.compile(r"(Name|_PATH|Ref|ServiceAccountToken|TokenAuth)$")
_USER_IN_URL = re.compile(r"://[^/\s:@]+:[^/\s@]+@")
_MOST_WORKERS = 1000
_LONGEST_STOP = "--seconds"
Node = Mapping[str, Any]


def check(documents: Sequence[Node]) -> list[Finding]:
    """The breaches of every rule, in the order of the documents."""
    return [
        Finding(name_of(document), path, fault)
        for document in documents
        for rule in (_pods, _autoscaler, _bounds, _secrets)
        for path, fault in rule(document)
    ]


def _pods(document: Node) -> Iterator[tuple[str, str]]:
    for path, template in pod_templates(document):
        spec = template["spec"]
        for name in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(name):
                yield f"{path}.spec.{name}", "shares the node's namespaces"
        for index, volume in enumerate(spec.get("volumes", [])):
            if "hostPath" in volume:
                yield f"{path}.spec.volumes.{index}", "mounts a path of the node"
        ray_node = "headGroupSpec" in path or "workerGroupSpecs" in path
        for kind in ("initContainers", "containers"):
            for index, container in enumerate(spec.get(kind, [])):
                here = f"{path}.spec.{kind}.{index}"
                yield from _container(here, container, spec.get("securityContext", {}))
                if ray_node and kind == "containers" and index == 0:
                    yield from _probes(here, container, spec)


def _container(path: str, container: Node, pod_security: Node) -> Iterator[tuple[str, str]]:
    yield from _image(f"{path}.image", container.get("image", ""))
    yield from _resources(f"{path}.resources", container.get("resources", {}))
    yield from _security(f"{path}.securityContext", {**pod_security, **container.get("securityContext", {})})


def _image(path: str, image: str) -> Iterator[tuple[str, str]]:
    if not _PINNED.match(image):
        yield path, f"{image!r} is pinned neither by a version nor by a digest"


def _resources(path: str, resources: Node) -> Iterator[tuple[str, str]]:
    limits, requests = resources.get("limits", {}), resources.get("requests", {})
    for what in ("cpu", "memory"):
        if what not in limits:
            yield f"{path}.limits.{what}", "missing"
    for what in sorted(limits.keys() | requests.keys()):
        if what in limits and requests.get(what) != limits[what]:
            yield f"{path}.requests.{what}", f"{requests.get(what)!r} is not the limit {limits[what]!r}"


def _security(path: str, security: Node) -> Iterator[tuple[str, str]]:
    if security.get("runAsNonRoot") is not True or security.get("runAsUser") == 0:
        yield f"{path}.runAsNonRoot", "may run as root"
    if security.get("privileged"):
        yield f"{path}.privileged", "is privileged"
    for name, wanted in (("readOnlyRootFilesystem", True), ("allowPrivilegeEscalation", False)):
        if security.get(name) is not wanted:
            yield f"{path}.{name}", f"is not {str(wanted).lower()}"
    capabilities = security.get("capabilities", {})
    if capabilities.get("drop") != ["ALL"] or capabilities.get("add"):
        yield f"{path}.capabilities", "does not drop ALL, or adds some"
    if "seccompProfile" in security and security["seccompProfile"].get("type") != "RuntimeDefault":
        yield f"{path}.seccompProfile", "is not RuntimeDefault"
    elif "seccompProfile" not in security and "autoscalerOptions" not in path:  # the head's pod sets the sidecar's
        yield f"{path}.seccompProfile", "missing"


def _probes(path: str, container: Node, spec: Node) -> Iterator[tuple[str, str]]:
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if probe not in container:
            yield f"{path}.{probe}", "missing"
    command = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
    if "workerGroupSpecs" in path and not command:
        yield f"{path}.lifecycle.preStop", "missing: the node would leave without a word"
    if _LONGEST_STOP in command:
        seconds = int(command[command.index(_LONGEST_STOP) + 1])
        if spec.get("terminationGracePeriodSeconds", 30) <= seconds:
            yield f"{path}.lifecycle.preStop", f"takes {seconds} s, which terminationGracePeriodSeconds does not give"


def _clusters(node: Any, path: str = "") -> Iterator[tuple[str, Node]]:
    if isinstance(node, dict):
        if "headGroupSpec" in node:
            yield path, node
        for name, value in node.items():
            yield from _clusters(value, f"{path}.{name}".lstrip("."))


def _autoscaler(document: Node) -> Iterator[tuple[str, str]]:
    for path, cluster in _clusters(document):
        options = cluster.get("autoscalerOptions", {})
        if not cluster.get("enableInTreeAutoscaling") or options.get("version") != "v2":
            yield f"{path}.autoscalerOptions.version", "in-tree autoscaling v2 is not on"
        yield from _container(f"{path}.autoscalerOptions", options, {})
        if cluster.get("authOptions", {}).get("mode") != "token":
            yield f"{path}.authOptions.mode", "whoever reaches the head may run code: token is wanted"
        if document.get("kind") == "RayService" and "gcsFaultToleranceOptions" not in cluster:
            yield f"{path}.gcsFaultToleranceOptions", "missing: a head that dies would take the cluster with it"


def _bounds(document: Node) -> Iterator[tuple[str, str]]:
    for path, cluster in _clusters(document):
        for index, group in enumerate(cluster.get("workerGroupSpecs", [])):
            fewest, most = group.get("minReplicas"), group.get("maxReplicas")
            if fewest is None or most is None or not 0 <= fewest <= most <= _MOST_WORKERS:
                yield f"{path}.workerGroupSpecs.{index}", f"bounds {fewest} to {most} are not 0 <= a <= b <= 1000"


def _secrets(document: Node) -> Iterator[tuple[str, str]]:
    if document.get("kind") == "Secret" and (document.get("data") or document.get("stringData")):
        yield "data", "a secret's content stands in the manifest; refer to one that is made elsewhere"
    yield from _inline(document, "")


def _is_secret(name: str) -> bool:
    return bool(_SECRET_NAME.search(name)) and not _NOT_SECRET.search(name)


def _inline(node: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        variable, value = str(node.get("name", "")), node.get("value")
        if _is_secret(variable) and isinstance(value, str) and value:
            yield f"{path}.value".lstrip("."), f"{variable} has its secret in the manifest"
        for name, value in node.items():
            here = f"{path}.{name}".lstrip(".")
            inline = value.get("value") if isinstance(value, dict) else value
            if _is_secret(str(name)) and isinstance(inline, str) and inline:
                yield here, "a secret stands in the manifest"
            yield from _inline(value, here)
    elif isinstance(node, list):
        for index, each in enumerate(node):
            yield from _inline(each, f"{path}.{index}")
    elif isinstance(node, str) and _USER_IN_URL.search(node):
        yield path, "an address with a password in it"
