"""The BentoML service of `benchmarks/serving`, in the module that `bentoml serve` is pointed at."""

import bentoml

from benchmarks.serving_peers import PATH, Model
from serve_apps.scoring import ScoreRequest, ScoreResponse


@bentoml.service(workers=1, traffic={"timeout": 60})
class Scores:
    """Scores a record. BentoML names the parameter in the body: {"request": {...}}."""

    def __init__(self) -> None:
        self.model = Model()

    @bentoml.api(route=PATH)
    async def score(self, request: ScoreRequest) -> ScoreResponse:
        """The score of the record."""
        return self.model.answer(request)
