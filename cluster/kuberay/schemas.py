"""Manifests against schemas, offline: those of Kubernetes from the package, those of KubeRay from their CRD files.

A field that no schema knows is a fault, as with `kubectl apply --validate=strict`. Rules a CRD states in CEL are not
evaluated. Pod templates within KubeRay's objects are checked against Kubernetes' own schema too, so that without CRD
files a misspelt field of a pod is still found.
"""

import copy
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml
from pydantic import ValidationError as SchemaError

from cluster.kuberay.findings import Finding, name_of
from engine.errors import ManifestError

KUBERNETES = "1.34"
"""Version whose schemas are used."""
UNCHECKED = ("monitoring.coreos.com/",)
"""API groups without a schema at hand."""
Schema = dict[str, Any]


def check(documents: Sequence[Mapping[str, Any]], crds: Path | None) -> list[Finding]:
    """The faults of the documents; `crds` is a folder with the CRD files of KubeRay.

    Raises ManifestError where the folder has none.
    """
    known = {} if crds is None else load_crds(crds)
    found: list[Finding] = []
    for document in documents:
        api, kind = str(document.get("apiVersion")), str(document.get("kind"))
        if (api, kind) in known:
            found += _custom(document, known[api, kind])
        elif not api.startswith(("ray.io/", *UNCHECKED)):
            found += _core(document, name_of(document), "")
        found += _templates(document) if api.startswith("ray.io/") else []
        found += _serve(document) if kind == "RayService" else []
    return found


@functools.cache
def load_crds(folder: Path) -> dict[tuple[str, str], Schema]:
    """The schemas of the CRD files in a folder, by apiVersion and kind."""
    known = {}
    for path in sorted(folder.glob("*.yaml")):
        for crd in yaml.load_all(path.read_text(), yaml.CSafeLoader):
            if crd and crd.get("kind") == "CustomResourceDefinition":
                spec = crd["spec"]
                for version in spec["versions"]:
                    key = f"{spec['group']}/{version['name']}", spec["names"]["kind"]
                    known[key] = version["schema"]["openAPIV3Schema"]
    if not known:
        raise ManifestError(f"{folder} holds no CustomResourceDefinition: --crds wants ray-operator/config/crd/bases")
    return known


def _core(document: Mapping[str, Any], where: str, prefix: str) -> list[Finding]:
    try:
        kubernetes_validate.validate(dict(document), KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [Finding(where, prefix + ".".join(map(str, error.absolute_path)), error.message.split("\n")[0][:300])]
    except kubernetes_validate.SchemaNotFoundError:
        return [Finding(where, "kind", f"Kubernetes {KUBERNETES} knows no {document['apiVersion']} {document['kind']}")]
    return []


def _custom(document: Mapping[str, Any], schema: Schema) -> list[Finding]:
    filled = with_defaults(schema, copy.deepcopy(dict(document)))
    where = name_of(document)
    validator = jsonschema.Draft202012Validator(schema)
    found = [
        Finding(where, ".".join(map(str, error.absolute_path)), error.message.split("\n")[0][:300])
        for error in validator.iter_errors(filled)
    ]
    return found + [Finding(where, path, "unknown field") for path in unknown(schema, filled, "")]


def with_defaults(schema: Schema, node: Any) -> Any:
    """The node with the schema's defaults where it says nothing, as the API server stores it."""
    if isinstance(node, dict):
        for name, part in schema.get("properties", {}).items():
            if name not in node and "default" in part:
                node[name] = copy.deepcopy(part["default"])
            if name in node:
                node[name] = with_defaults(part, node[name])
        more = schema.get("additionalProperties")
        if isinstance(more, dict):
            for name in node.keys() - schema.get("properties", {}).keys():
                node[name] = with_defaults(more, node[name])
    elif isinstance(node, list) and isinstance(schema.get("items"), dict):
        return [with_defaults(schema["items"], each) for each in node]
    return node


def unknown(schema: Schema, node: Any, path: str) -> Iterator[str]:
    """Paths of fields that the schema does not name and so would be dropped or refused."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    if isinstance(node, dict) and ("properties" in schema or isinstance(schema.get("additionalProperties"), dict)):
        properties, more = schema.get("properties", {}), schema.get("additionalProperties")
        for name, value in node.items():
            here = f"{path}.{name}".lstrip(".")
            if name in properties:
                yield from unknown(properties[name], value, here)
            elif isinstance(more, dict):
                yield from unknown(more, value, here)
            elif here not in ("apiVersion", "kind", "metadata"):
                yield here
    elif isinstance(node, list) and isinstance(schema.get("items"), dict):
        for index, each in enumerate(node):
            yield from unknown(schema["items"], each, f"{path}.{index}")


def _templates(document: Mapping[str, Any]) -> list[Finding]:
    found: list[Finding] = []
    for path, template in pod_templates(document):
        core = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": template}
        found += _core(core, name_of(document), f"{path}: ")
    return found


def pod_templates(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod template within a document: an object whose `spec` has `containers`."""
    if isinstance(node, dict):
        spec = node.get("spec")
        if isinstance(spec, dict) and "containers" in spec:
            yield path, node
            return
        for name, value in node.items():
            yield from pod_templates(value, f"{path}.{name}".lstrip("."))
    elif isinstance(node, list):
        for index, each in enumerate(node):
            yield from pod_templates(each, f"{path}.{index}")


def _serve(document: Mapping[str, Any]) -> list[Finding]:
    """The Serve config of a RayService, by Ray's own schema."""
    from ray.serve.schema import ServeDeploySchema

    where, path = name_of(document), "spec.serveConfigV2"
    try:
        config = yaml.load(document["spec"]["serveConfigV2"], yaml.CSafeLoader)
        ServeDeploySchema.model_validate(config)
    except (KeyError, yaml.YAMLError) as error:
        return [Finding(where, path, f"missing or not YAML: {error}")]
    except SchemaError as error:
        return [
            Finding(where, f"{path}.{'.'.join(map(str, e['loc']))}", re.sub(r"\s+", " ", e["msg"]))
            for e in error.errors()
        ]
    return []
