"""The models in a replica: they follow the champions, and records that arrive together are scored together."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

from engine.domain.model_set import ModelSet
from engine.errors import ModelError, StorageError
from engine.learning.registry import Scorers
from engine.logs import get_logger
from engine.scoring.health_score import HealthScorer, ScoringRules
from engine.scoring.record import HealthRecord, RecordScore, score_records
from engine.storage.models import ModelStore

FOLLOW_SECONDS = 5.0
MOST_TOGETHER = 256
"""Records scored in one go: some 5 ms, for which the event loop waits."""
_AS_OF = 1_735_689_600_000_000
_WARMING = HealthRecord(
    _AS_OF,
    {"age": 61.0, "male": 1.0, "cost_total": 900.0},
    {"steps": 6000.0},
    {"steps": 20},
    {"spo2": 96.0, "heart_rate": 70.0},
    ("E11.9",),
    {"hba1c": 6.1, "creatinine": 1.0, "hdl_cholesterol": 50.0, "bmi": 27.0, "albumin": 4.2},
)


class Champions:
    """The scorer of the current champions; a thread takes up a change within FOLLOW_SECONDS.

    Made, it has loaded the models and compiled or loaded their kernels: nothing is left for the first request.
    Raises ModelError or StorageError where there are no champions or they cannot be loaded.
    """

    def __init__(self, rules: ScoringRules, folder: Path, postgres_url: str) -> None:
        self._store = ModelStore(postgres_url, pool_size=1)
        self._models = str(self._store.champions())
        self._scorers = Scorers(rules, ModelSet.parse(self._models), folder)
        self._log = get_logger(part="champions")
        self.scorer = warmed(self._scorers(self._models))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="champions", daemon=True)
        self._thread.start()

    def follow(self) -> None:
        """Takes up the champions of the database; those it has go on where it cannot."""
        try:
            models = str(self._store.champions())
            if models != self._models:
                self.scorer, self._models = warmed(self._scorers(models)), models
                self._log.info("champions taken up", models=models)
        except (StorageError, ModelError) as error:
            self._log.warning("champions not followed", models=self._models, error=str(error))

    def close(self) -> None:
        """Ends the thread and the connection."""
        self._stop.set()
        self._thread.join(timeout=FOLLOW_SECONDS)
        self._store.close()

    def _watch(self) -> None:
        while not self._stop.wait(FOLLOW_SECONDS):
            self.follow()


def warmed(scorer: HealthScorer) -> HealthScorer:
    """The scorer after it has scored one record and several, which take different kernels."""
    score_records(scorer, [_WARMING])
    score_records(scorer, [_WARMING] * 16)
    return scorer


class Scores:
    """Scores records in the event loop. Those decoded in the same turn of the loop are scored together.

    A record alone does not wait for others: the batch is whatever is there when the loop comes round.
    """

    def __init__(self, champions: Champions) -> None:
        self._champions = champions
        self._waiting: list[tuple[HealthRecord, asyncio.Future[RecordScore]]] = []

    def score(self, record: HealthRecord) -> "asyncio.Future[RecordScore]":
        """The score of a record, to be awaited."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[RecordScore] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append((record, future))
        return future

    def score_all(self, records: Sequence[HealthRecord]) -> list[RecordScore]:
        """The scores of records, at once."""
        return score_records(self._champions.scorer, records)

    def _flush(self) -> None:
        batch, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        batch = [(record, future) for record, future in batch if not future.cancelled()]
        if not batch:
            return
        try:
            found: Sequence[RecordScore | Exception] = self.score_all([record for record, _ in batch])
        except Exception:  # noqa: BLE001 - one record's fault must not fail the others
            found = [self._alone(record) for record, _ in batch]
        for (_, future), score in zip(batch, found, strict=True):
            if isinstance(score, Exception):
                future.set_exception(score)
            else:
                future.set_result(score)

    def _alone(self, record: HealthRecord) -> RecordScore | Exception:
        try:
            return self.score_all([record])[0]
        except Exception as error:  # noqa: BLE001 - handed to the request that brought it
            return error
