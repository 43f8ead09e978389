"""The LitServe API of `benchmarks/serving`, in a module of its own: its worker imports it by name."""

import litserve

from benchmarks.serving_peers import PATH, Model
from serve_apps.scoring import ScoreRequest, ScoreResponse


class Scores(litserve.LitAPI):
    """Scores a record."""

    def setup(self, device: str) -> None:
        """Loads the models in the worker."""
        self.model = Model()

    def decode_request(self, request: ScoreRequest) -> ScoreRequest:
        """The request as FastAPI has parsed it."""
        return request

    def predict(self, request: ScoreRequest) -> ScoreResponse:
        """The score of the record."""
        return self.model.answer(request)

    def encode_response(self, answer: ScoreResponse) -> ScoreResponse:
        """The answer as FastAPI writes it."""
        return answer


def run(port: int) -> None:
    """Serves until ended."""
    server = litserve.LitServer(Scores(api_path=PATH), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, num_api_servers=1, log_level="warning")
