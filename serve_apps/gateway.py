"""The HTTP application: one ingress over scores, members, premiums, simulations and the health of the parts."""

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from grpc.aio._server import Server
from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve import Application
from ray.serve.config import BackpressureConfig
from ray.serve.context import _get_global_client

from actors.jobs import SimulationJobs
from actors.member_record import member_record
from actors.score_board import BoardReader, board_folder
from engine import logs
from engine.errors import SettingsError
from engine.learning import registry
from engine.scoring.health_score import ScoringRules
from engine.scoring.record import HealthRecord
from engine.settings import load_rules, load_settings
from engine.storage.queries import Queries
from engine.storage.runs import Runs
from serve_apps import (
    bulk,
    health,
    interventions,
    member_history,
    members,
    premium,
    problems,
    score_codec,
    scoring,
    simulations,
    what_if,
)
from serve_apps.access import openapi
from serve_apps.access.assemble import Access
from serve_apps.access.plan import LOOPBACK, AccessPlan, check_reach, plan_of
from serve_apps.asgi import App
from serve_apps.hot import HotLane
from serve_apps.live_scores import LiveScores
from serve_apps.scores import Champions, Scores


class Args(BaseModel):
    """What the application is built from; what is left out in a Serve config comes from the settings."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    postgres_url: str = ""
    bootstrap: str = ""
    rules: ScoringRules | None = None
    models: Path | None = None
    jobs_url: str = ""
    state_directory: str = ""
    access: AccessPlan | None = None
    board_folder: str = ""
    log_level: str = ""


def application(args: Args, champions: Champions) -> App:
    """The routes behind the gateway, on connections of their own, which the application's lifespan closes."""
    assert args.rules is not None and args.access is not None, "arguments are completed by `build`"
    queries, runs = Queries(args.postgres_url), Runs(args.postgres_url)
    jobs = SimulationJobs(runs, args.jobs_url, args.state_directory)
    access = Access(args.access, args.postgres_url, queries)
    titles = {entry.code: entry.title for entry in args.rules.catalogue}
    scores, live = Scores(champions), LiveScores(queries, BoardReader(args.board_folder))

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with access.running():
            yield
        champions.close()
        queries.close()
        runs.close()

    async def score(record: HealthRecord) -> dict[str, Any]:
        return score_codec.plain(await scores.score(record))

    app = FastAPI(
        title="VitaNexus",
        version="1",
        description="Health scores of members, premium recommendations for cohorts, simulations of the risk pool.",
        lifespan=lifespan,
    )
    problems.install(app)
    openapi.describe(app)
    app.include_router(scoring.router(scores, titles))
    app.include_router(bulk.router(scores, titles))
    app.include_router(members.router(queries, live, titles, access.reads))
    app.include_router(member_history.router(queries, titles, access.reads))
    app.include_router(what_if.router(partial(member_record, args.postgres_url), score, titles, access.reads))
    app.include_router(interventions.router(args.rules.catalogue, args.rules.version))
    app.include_router(premium.router(queries))
    app.include_router(simulations.router(jobs))
    app.include_router(health.router(queries, args.bootstrap))
    return access.wrap(HotLane(app, scores, live, access.reads, titles))


@serve.deployment(
    name="Gateway",
    num_replicas=1,
    ray_actor_options={"num_cpus": 0.5},
    max_ongoing_requests=256,
    max_queued_requests=64,
    backpressure_config=BackpressureConfig(status_code=503, retry_after_s=1),
    max_surge_percent=100,  # a new replica answers before an old one goes: with one, too, an update fails no request
    health_check_period_s=5,
    health_check_timeout_s=10,
    graceful_shutdown_wait_loop_s=0.2,
    graceful_shutdown_timeout_s=20,
    logging_config={"enable_access_log": False},  # ours, in access_log
)
@serve.ingress()
class Gateway:
    """Answers HTTP. The models are in the replica: a call to another deployment would take longer than they do."""

    def __init__(self, args: Args) -> None:
        logs.configure(args.log_level)
        _inner_server_on_loopback()
        assert args.access is not None
        # a Serve config binds where it says, whatever our settings do
        check_reach(_get_global_client().http_config.host or LOOPBACK[0], args.access)
        self._args = args
        self._champions = Champions(args.rules, args.models, args.postgres_url)

    def __serve_build_asgi_app__(self) -> App:
        """The application of this replica."""
        return application(self._args, self._champions)


def _inner_server_on_loopback() -> None:
    """Keeps Serve's server for calls between deployments on this machine.

    Every replica of Ray 2.60 starts one on all interfaces, which unpickles what anybody sends it and asks for no token
    unless Ray's TLS is on. No deployment calls this one, and the ingress does not come that way. The class of replicas
    travels by value, with its globals: what it calls can only be changed where it ends, in gRPC.
    """
    bind = Server.add_insecure_port

    def bound(server: Server, address: str) -> int:
        return int(bind(server, address.replace("[::]", "127.0.0.1")))

    Server.add_insecure_port = bound


def build(args: Args) -> Application:
    """The application for `serve.run`, or for a Serve config's import path `serve_apps.gateway:build`."""
    return Gateway.bind(completed(args))


def completed(args: Args) -> Args:
    """The arguments with the settings in place of what is left out.

    A Serve config is built in the cluster, by nothing of ours: there this is the composition root. Raises SettingsError
    where neither names a database or a broker.
    """
    settings = load_settings()
    postgres_url = args.postgres_url or settings.postgres.url.get_secret_value()
    known = {
        "postgres_url": postgres_url,
        "bootstrap": args.bootstrap or settings.kafka.bootstrap,
        "rules": args.rules or load_rules(),
        "models": args.models or registry.folder(settings.models.folder),
        "jobs_url": args.jobs_url or settings.ray.jobs_url,
        "access": args.access or plan_of(settings, args.state_directory),
        "board_folder": args.board_folder or board_folder(postgres_url),
        "log_level": args.log_level or settings.log.level,
    }
    for name, variable in (("postgres_url", "VITANEXUS_POSTGRES_URL"), ("bootstrap", "VITANEXUS_KAFKA_BOOTSTRAP")):
        if not known[name]:
            raise SettingsError(f"{variable} is empty: a Serve config starts no database and no broker of its own")
    return args.model_copy(update=known)
