"""Manifests for KubeRay: all of them valid, planted faults caught, and read by Ray's own code as they are meant."""

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.kuberay import policy, schemas
from cluster.kuberay.findings import Finding, name_of
from cluster.kuberay.render import FOLDER, OVERLAYS, documents, render, values
from engine.errors import ManifestError
from tests.conftest import shared_data

Objects = dict[str, dict[str, Any]]
RAY_SECRETS = {"vitanexus-postgres", "vitanexus-kafka", "vitanexus-redis", "vitanexus-ray-token"}


@pytest.fixture(scope="module")
def production() -> list[dict[str, Any]]:
    return documents(render("production", {}))


@pytest.fixture
def objects(production: list[dict[str, Any]]) -> Objects:
    return {name_of(each): copy.deepcopy(each) for each in production}


@pytest.fixture(scope="module")
def crds() -> Path:
    return shared_data("kuberay_crds")


def faults(objects: Objects, crds: Path | None = None) -> list[Finding]:
    return [*schemas.check(list(objects.values()), crds), *policy.check(list(objects.values()))]


def cluster_of(objects: Objects) -> dict[str, Any]:
    return objects["RayService/vitanexus"]["spec"]["rayClusterConfig"]


def worker(objects: Objects, group: int = 0) -> dict[str, Any]:
    return cluster_of(objects)["workerGroupSpecs"][group]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_manifest_is_valid_by_kubernetes_and_our_rules(overlay: str) -> None:
    found = documents(render(overlay, {}))
    assert faults({name_of(each): each for each in found}) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_manifest_is_valid_by_kuberays_definitions(overlay: str, crds: Path) -> None:
    assert schemas.check(documents(render(overlay, {})), crds) == []


def plant(change: Callable[[Objects], Any]) -> Callable[[Objects], None]:
    return lambda objects: change(objects) and None


PLANTED = {
    "a misspelt field of a pod": (
        lambda o: worker(o).update(imagePullPolice="Always"),
        "RayService/vitanexus",
        "imagePullPolice",
    ),
    "a field of the wrong type": (
        lambda o: o["PodDisruptionBudget/vitanexus-shards"]["spec"].update(minAvailable=[1]),
        "PodDisruptionBudget/vitanexus-shards",
        "minAvailable",
    ),
    "a misspelt field of a network policy": (
        lambda o: o["NetworkPolicy/dns"]["spec"].update(policyType=["Egress"]),
        "NetworkPolicy/dns",
        "policyType",
    ),
    "no limit": (
        lambda o: worker(o)["resources"]["limits"].pop("memory"),
        "RayService/vitanexus",
        "resources.limits.memory",
    ),
    "a limit above the request": (
        lambda o: worker(o, 1)["resources"]["limits"].update(cpu="64"),
        "RayService/vitanexus",
        "workerGroupSpecs.1.template.spec.containers.0.resources.requests.cpu",
    ),
    "root": (
        lambda o: worker(o)["securityContext"].update(runAsNonRoot=False),
        "RayService/vitanexus",
        "runAsNonRoot",
    ),
    "root by number": (
        lambda o: worker(o)["securityContext"].update(runAsUser=0),
        "RayService/vitanexus",
        "runAsNonRoot",
    ),
    "a writable root file system": (
        lambda o: worker(o)["securityContext"].pop("readOnlyRootFilesystem"),
        "RayService/vitanexus",
        "readOnlyRootFilesystem",
    ),
    "a capability": (
        lambda o: worker(o)["securityContext"].update(capabilities={"drop": ["ALL"], "add": ["SYS_PTRACE"]}),
        "RayService/vitanexus",
        "capabilities",
    ),
    "an inline secret": (
        lambda o: worker(o)["env"].append({"name": "REDIS_PASSWORD", "value": "hunter2"}),
        "RayService/vitanexus",
        "REDIS_PASSWORD",
    ),
    "a password in an address": (
        lambda o: o["ConfigMap/vitanexus-settings"]["data"].update(VITANEXUS_POSTGRES_URL="postgresql://u:p@db/v"),
        "ConfigMap/vitanexus-settings",
        "VITANEXUS_POSTGRES_URL",
    ),
    "a Redis password": (
        lambda o: cluster_of(o)["gcsFaultToleranceOptions"].update(redisPassword={"value": "hunter2"}),
        "RayService/vitanexus",
        "redisPassword",
    ),
    "the newest image": (
        lambda o: worker(o).update(image="registry.example.com/vitanexus/serving:latest"),
        "RayService/vitanexus",
        "pinned neither",
    ),
    "an image without a version": (
        lambda o: worker(o).update(image="registry.example.com:5000/vitanexus/serving"),
        "RayService/vitanexus",
        "pinned neither",
    ),
    "no liveness probe": (lambda o: worker(o).pop("livenessProbe"), "RayService/vitanexus", "livenessProbe"),
    "no preStop": (lambda o: worker(o).pop("lifecycle"), "RayService/vitanexus", "preStop"),
    "less grace than the preStop takes": (
        lambda o: cluster_of(o)["workerGroupSpecs"][0]["template"]["spec"].update(terminationGracePeriodSeconds=30),
        "RayService/vitanexus",
        "terminationGracePeriodSeconds",
    ),
    "no token": (lambda o: cluster_of(o).pop("authOptions"), "RayService/vitanexus", "authOptions"),
    "bounds the wrong way round": (
        lambda o: cluster_of(o)["workerGroupSpecs"][0].update(minReplicas=20),
        "RayService/vitanexus",
        "bounds 20 to 16",
    ),
    "a misspelt field of the Serve config": (
        lambda o: o["RayService/vitanexus"]["spec"].update(
            serveConfigV2=o["RayService/vitanexus"]["spec"]["serveConfigV2"].replace("import_path", "import_paths")
        ),
        "RayService/vitanexus",
        "serveConfigV2",
    ),
    "an unknown kind": (
        lambda o: o.update({"Depoyment/x": {"apiVersion": "apps/v1", "kind": "Depoyment", "metadata": {"name": "x"}}}),
        "Depoyment/x",
        "knows no apps/v1 Depoyment",
    ),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_caught_without_kuberays_definitions(fault: str, objects: Objects) -> None:
    change, where, told = PLANTED[fault]
    change(objects)
    found = faults(objects)
    assert found, fault
    assert all(each.where == where for each in found)
    assert any(told in str(each) for each in found), found


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda o: cluster_of(o).update(enableInTreeAutoscalling=True), "enableInTreeAutoscalling: unknown field"),
        (lambda o: cluster_of(o)["autoscalerOptions"].update(version="v3"), "'v3' is not one of"),
        (lambda o: cluster_of(o)["workerGroupSpecs"][0].update(maxReplicas="16"), "'16' is not of type 'integer'"),
        (lambda o: o["RayCronJob/monthly-reserve"]["spec"].pop("schedule"), "'schedule' is a required property"),
        (lambda o: worker(o)["livenessProbe"]["httpGet"].update(prot=1), "httpGet.prot: unknown field"),
    ],
)
def test_a_planted_fault_in_kuberays_own_fields_is_caught(
    change: Callable[[Objects], Any], told: str, objects: Objects, crds: Path
) -> None:
    change(objects)
    assert any(told in str(each) for each in schemas.check(list(objects.values()), crds))


def test_defaults_are_applied_as_the_api_server_applies_them(crds: Path) -> None:
    schema = schemas.load_crds(crds)["ray.io/v1", "RayJob"]
    filled = schemas.with_defaults(schema, {"spec": {"entrypoint": "x"}})
    assert filled["spec"]["submissionMode"] == "K8sJobMode" and filled["spec"]["backoffLimit"] == 0


def test_rays_own_autoscaler_reads_the_cluster_as_it_is_meant(objects: Objects) -> None:
    from ray.autoscaler._private.kuberay import autoscaling_config

    cluster = {"metadata": {"name": "vitanexus", "namespace": "vitanexus"}, "spec": cluster_of(objects)}
    read = autoscaling_config._derive_autoscaling_config_from_ray_cr(cluster)
    nodes = read["available_node_types"]
    assert nodes["shards"]["resources"]["shard"] == 4 and nodes["shards"]["resources"]["CPU"] == 0
    assert nodes["endpoints"]["resources"]["endpoint"] == 4 and nodes["endpoints"]["resources"]["CPU"] == 0
    assert nodes["simulations"]["resources"]["CPU"] == 8 and "shard" not in nodes["simulations"]["resources"]
    assert {name: (n["min_workers"], n["max_workers"]) for name, n in nodes.items()} == {
        "headgroup": (0, 0),
        "shards": (2, 16),
        "endpoints": (2, 12),
        "simulations": (0, 20),
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_wanted_at_once_fits_the_least_and_the_most_of_each_group(overlay: str) -> None:
    objects = {name_of(each): each for each in documents(render(overlay, {}))}
    groups = {group["groupName"]: group for group in cluster_of(objects)["workerGroupSpecs"]}
    settings = objects["ConfigMap/vitanexus-settings"]["data"]
    shards = int(settings["VITANEXUS_SHARDS_COUNT"]) + int(settings["VITANEXUS_SHARDS_STANDBY"])
    assert shards <= groups["shards"]["minReplicas"] * int(groups["shards"]["resources"]["shard"])
    serve = yaml.safe_load(objects["RayService/vitanexus"]["spec"]["serveConfigV2"])
    deployments = [d for app in serve["applications"] for d in app["deployments"]]
    fewest = sum(
        d["ray_actor_options"]["resources"]["endpoint"] * d.get("autoscaling_config", {}).get("min_replicas", 1)
        for d in deployments
    )
    each = int(groups["endpoints"]["resources"]["endpoint"])
    assert fewest <= groups["endpoints"]["minReplicas"] * each


def test_the_serve_config_names_what_the_applications_deploy(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._common.utils import import_attr
    from ray.serve._private.api import call_user_app_builder_with_args_if_necessary
    from ray.serve._private.build_app import build_app

    serve = yaml.safe_load(objects["RayService/vitanexus"]["spec"]["serveConfigV2"])
    named = {app["name"]: {d["name"] for d in app["deployments"]} for app in serve["applications"]}
    paths = {app["name"]: app["import_path"] for app in serve["applications"]}
    assert paths == {"shards": "cluster.service:shards", "vitanexus": "cluster.service:endpoints"}
    monkeypatch.setenv("VITANEXUS_POSTGRES_URL", "postgresql://nowhere")
    monkeypatch.setenv("VITANEXUS_KAFKA_BOOTSTRAP", "nowhere:9092")
    for name, path in paths.items():
        application = call_user_app_builder_with_args_if_necessary(import_attr(path), {})
        assert {d.name for d in build_app(application, name=name).deployments} == named[name]


def test_shards_of_two_clusters_never_share_a_name_and_each_knows_its_own() -> None:
    from actors.names import is_shard, is_shard_of, shard_name

    names = {(index, cluster): shard_name(index, cluster) for index in range(64) for cluster in ("", "v-a", "v-b")}
    assert len(set(names.values())) == len(names) and all(map(is_shard, names.values()))
    for (_, cluster), name in names.items():
        assert [other for other in ("", "v-a", "v-b") if is_shard_of(name, other)] == [cluster]


def test_secrets_are_referred_to_and_the_page_says_how_to_make_each(production: list[dict[str, Any]]) -> None:
    text = json.dumps(production)
    named = set(re.findall(r'"secretKeyRef": \{[^}]*"name": "([^"]+)"', text))
    named |= set(re.findall(r'"secretName": "([^"]+)"', text))
    assert named == RAY_SECRETS
    page = (FOLDER / "README.md").read_text()
    assert all(name in page for name in named)


def test_network_policies_deny_all_and_open_what_is_named(objects: Objects) -> None:
    deny = objects["NetworkPolicy/default-deny"]["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    policies = [each["spec"] for name, each in objects.items() if name.startswith("NetworkPolicy/")]
    opened = [rule for spec in policies for rule in (*spec.get("egress", []), *spec.get("ingress", []))]
    assert all(rule.get("to") or rule.get("from") for rule in opened), "a rule without a peer opens to everybody"
    wide = [to for rule in opened for to in rule.get("to", []) if to.get("ipBlock", {}).get("cidr", "").endswith("/0")]
    assert not wide
    labels = cluster_of(objects)["headGroupSpec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == "vitanexus"


def test_set_changes_what_it_names_and_nothing_else(production: list[dict[str, Any]]) -> None:
    image = "registry.internal/serving@sha256:" + "a" * 64
    changed = render(
        "production", {"image": image, "shards.most": "40", "settings.VITANEXUS_LOG_LEVEL": "DEBUG", "namespace": "vn"}
    )
    objects = {name_of(each): each for each in documents(changed)}
    assert cluster_of(objects)["workerGroupSpecs"][0]["maxReplicas"] == 40
    assert worker(objects)["image"] == image == cluster_of(objects)["autoscalerOptions"]["image"]
    assert objects["ConfigMap/vitanexus-settings"]["data"]["VITANEXUS_LOG_LEVEL"] == "DEBUG"
    assert {each["metadata"]["namespace"] for each in objects.values() if "namespace" in each["metadata"]} == {"vn"}
    assert faults(objects) == []
    before = yaml.safe_dump(cluster_of({name_of(each): each for each in production})["workerGroupSpecs"][1])
    assert yaml.safe_dump(cluster_of(objects)["workerGroupSpecs"][1]) == before.replace(values()["image"], image)


@pytest.mark.parametrize(
    ("overlay", "changes", "told"),
    [
        ("staging", {}, "'staging' is not one of dev, production"),
        ("dev", {"shards.max": "3"}, "shards.max: there is no such value"),
        ("dev", {"shards.most": "many"}, "shards.most=many: not a whole number"),
    ],
)
def test_a_change_that_cannot_be_made_is_named(overlay: str, changes: dict[str, str], told: str) -> None:
    with pytest.raises(ManifestError, match=re.escape(told)):
        render(overlay, changes)


def test_the_commands_print_and_judge(tmp_path: Path) -> None:
    def vitanexus(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cluster.cli", "cluster", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    printed = vitanexus("render", "--overlay", "dev", "--only", "RayService/vitanexus")
    assert printed.returncode == 0, printed.stderr
    assert yaml.safe_load(printed.stdout)["metadata"]["namespace"] == "vitanexus-dev"
    file = tmp_path / "broken.yaml"
    file.write_text(printed.stdout.replace("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"))
    judged = vitanexus("validate", str(file))
    assert judged.returncode == 1 and "readOnlyRootFilesystem: is not true" in judged.stderr
