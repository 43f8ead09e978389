"""The same model behind other servers, for `benchmarks/serving`: each started as a process of its own on loopback.

`python -m benchmarks.serving_peers NAME PORT`. All take the body of `POST /v1/scores` by the same Pydantic models and
score it by the same call, one record at a time; none has limits, authentication, an audit or a log.
"""

import os
import sys
from typing import Any

from engine.learning.registry import load_models
from engine.scoring.health_score import HealthScorer
from engine.scoring.record import score_record
from engine.settings import load_rules
from serve_apps.score_codec import plain
from serve_apps.scores import warmed
from serve_apps.scoring import ScoreRequest, ScoreResponse, response

PATH = "/v1/scores"


class Model:
    """The models, and an answer for a request."""

    def __init__(self) -> None:
        rules = load_rules()
        self._scorer = warmed(HealthScorer(load_models(), rules))
        self._titles = {entry.code: entry.title for entry in rules.catalogue}

    def answer(self, request: ScoreRequest) -> ScoreResponse:
        """The score of the record."""
        row = plain(score_record(self._scorer, request.record()))
        return response(row, self._titles, as_of=request.as_of, answered_by="request", age_seconds=0.0)


def application(model: Model) -> Any:
    """FastAPI with the one route."""
    from fastapi import FastAPI

    app = FastAPI()

    @app.post(PATH)
    async def score(request: ScoreRequest) -> ScoreResponse:
        return model.answer(request)

    return app


def bare(port: int) -> None:
    """Uvicorn alone, one process."""
    import uvicorn

    uvicorn.run(application(Model()), host="127.0.0.1", port=port, log_level="warning", access_log=False)


def serve(port: int) -> None:
    """Ray Serve as it comes, one replica."""
    import ray
    from ray import serve as ray_serve

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")

    @ray_serve.deployment(ray_actor_options={"num_cpus": 0.5}, max_ongoing_requests=256)
    @ray_serve.ingress()
    class Scores:
        def __serve_build_asgi_app__(self) -> Any:
            return application(Model())

    ray_serve.start(http_options={"host": "127.0.0.1", "port": port})
    ray_serve.run(Scores.bind(), route_prefix="/", blocking=True)


def litserve(port: int) -> None:
    """LitServe, one worker."""
    from benchmarks.serving_lit import run

    run(port)


def bentoml(port: int) -> None:
    """BentoML, one worker."""
    words = ["-m", "bentoml", "serve", "benchmarks.serving_bento:Scores", "--host", "127.0.0.1", "--port", str(port)]
    os.environ |= {"BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "1"}
    os.execv(sys.executable, [sys.executable, *words, "--api-workers", "1"])  # noqa: S606


PEERS = {
    "bare uvicorn + FastAPI": bare,
    "Ray Serve, default": serve,
    "LitServe": litserve,
    "BentoML": bentoml,
}

if __name__ == "__main__":
    PEERS[sys.argv[1]](int(sys.argv[2]))
