"""`vitanexus cluster`: the manifests of a KubeRay cluster, rendered and checked, and a node's leave-taking."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from engine.errors import ManifestError

cluster = typer.Typer(help="Kubernetes manifests for KubeRay: render, validate.", no_args_is_help=True)
Overlay = Annotated[str, typer.Option(help="dev or production")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="NAME=VALUE: a value of cluster/kuberay/base/values.yaml, or namespace; repeatable"),
]


def _pairs(changes: list[str] | None) -> dict[str, str]:
    pairs = {}
    for change in changes or []:
        name, equals, value = change.partition("=")
        if not equals:
            raise ManifestError(f"--set {change}: not NAME=VALUE")
        pairs[name] = value
    return pairs


@cluster.command()
def render(
    overlay: Overlay,
    changes: Changes = None,
    only: Annotated[str, typer.Option(help="KIND/NAME: that object alone")] = "",
) -> None:
    """Print what `kubectl apply -f -` would apply.

    Example: vitanexus cluster render --overlay production --set image=registry/serving@sha256:... --set shards.most=24
    """
    from cluster.kuberay.findings import name_of
    from cluster.kuberay.render import documents
    from cluster.kuberay.render import render as made

    manifests = made(overlay, _pairs(changes))
    if only:
        import yaml

        found = [each for each in documents(manifests) if name_of(each) == only]
        if not found:
            names = ", ".join(name_of(each) for each in documents(manifests))
            raise ManifestError(f"--only {only}: there is no such object; there are {names}")
        manifests = yaml.safe_dump(found[0], sort_keys=False)
    typer.echo(manifests, nl=False)


@cluster.command()
def validate(
    file: Annotated[Path | None, typer.Argument(help="manifests; - reads them from the input")] = None,
    overlay: Annotated[str, typer.Option(help="dev or production; both where neither it nor a file is given")] = "",
    changes: Changes = None,
    crds: Annotated[
        Path | None,
        typer.Option(envvar="VITANEXUS_CRDS", help="folder of KubeRay's CRD files: ray-operator/config/crd/bases"),
    ] = None,
) -> None:
    """Check manifests offline: schemas of Kubernetes (strict) and KubeRay, and the rules of cluster/kuberay/policy.py.

    Without --crds the fields of KubeRay's own objects are not checked, the pods within them are.
    """
    from cluster.kuberay import policy, schemas
    from cluster.kuberay.render import OVERLAYS, documents
    from cluster.kuberay.render import render as made

    if file is not None:
        sources = {str(file): sys.stdin.read() if str(file) == "-" else _read(file)}
    else:
        sources = {name: made(name, _pairs(changes)) for name in ([overlay] if overlay else OVERLAYS)}
    faults = 0
    for name, manifests in sources.items():
        objects = documents(manifests)
        found = [*schemas.check(objects, crds), *policy.check(objects)]
        for finding in found:
            typer.echo(f"{name}: {finding}", err=True)
        faults += len(found)
        typer.echo(f"{name}: {len(objects)} objects, {len(found)} faults")
    if crds is None:
        typer.echo("KubeRay's own fields were not checked: --crds names the folder of its CRD files")
    if faults:
        raise typer.Exit(1)


def _read(path: Path) -> str:
    if not path.is_file():
        raise ManifestError(f"{path} is not a file")
    return path.read_text()


@cluster.command()
def leave(
    seconds: Annotated[float, typer.Option(min=1, help="most time it may take")] = 75.0,
    node: Annotated[str, typer.Option(help="Ray's id of another node; this one where left out")] = "",
) -> None:
    """Take a Ray node out of service: the preStop hook of a worker's pod, or before a machine is taken away."""
    from cluster.leaving import leave as take_leave

    left = take_leave(seconds, node)
    typer.echo(f"still here: {', '.join(left)}" if left else "nothing of ours is left on this node")
