"""The HTTP application: one ingress over scores, members, premiums, simulations and the health of the parts."""

from pathlib import Path

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from actors.jobs import SimulationJobs
from engine.scoring.health_score import ScoringRules
from engine.storage.queries import Queries
from engine.storage.runs import Runs
from serve_apps import health, members, premium, problems, scoring, simulations


class Args(BaseModel):
    """What the application is built from."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    postgres_url: str
    bootstrap: str
    rules: ScoringRules
    models: Path
    jobs_url: str = ""
    state_directory: str = ""


@serve.deployment(
    name="Gateway",
    num_replicas=1,
    ray_actor_options={"num_cpus": 0.5},
    max_ongoing_requests=256,
    graceful_shutdown_wait_loop_s=0.2,
)
@serve.ingress()
class Gateway:
    """Answers HTTP; the models answer through `scorer`."""

    def __init__(self, args: Args, scorer: DeploymentHandle) -> None:
        self._args = args
        self._scorer = scorer

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The routes on this replica's own connections."""
        queries, runs = Queries(self._args.postgres_url), Runs(self._args.postgres_url)
        jobs = SimulationJobs(runs, self._args.jobs_url, self._args.state_directory)
        titles = {entry.code: entry.title for entry in self._args.rules.catalogue}
        app = FastAPI(
            title="VitaNexus",
            version="1",
            description="Health scores of members, premium recommendations for cohorts, simulations of the risk pool.",
        )
        problems.install(app)
        app.include_router(scoring.router(self._scorer, titles))
        app.include_router(members.router(queries, titles))
        app.include_router(premium.router(queries))
        app.include_router(simulations.router(jobs))
        app.include_router(health.router(queries, self._args.bootstrap))
        return app


def build(args: Args) -> Application:
    """The application for `serve.run`, or for a Serve config's import path `serve_apps.gateway:build`."""
    return Gateway.bind(args, scoring.Scorer.bind(args.rules, args.models, args.postgres_url))
