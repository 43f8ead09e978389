"""What a batch tells the world: score rows, `scores.updated`, `care.alerts`, and dead letters for their topic."""

from dataclasses import asdict
from typing import cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.domain.batch import Rows
from engine.domain.tables import SCORES
from engine.scoring.health_score import CATEGORIES, HIGH, HealthScorer, HealthScores, ScoreInputs, category_name
from engine.scoring.member_state import PartitionState
from engine.streams.topics import CARE_ALERTS, DEAD_LETTER_TOPIC, SCORES_UPDATED

MESSAGE_VERSION = 1
OUTBOX_COLUMNS = ("topic", "message_key", "payload")
SCORE_COLUMNS = tuple(name for name in SCORES.names if name != "scored_at")
_encode = msgspec.json.Encoder().encode


def score_rows(
    scorer: HealthScorer,
    state: PartitionState,
    slots: NDArray[np.int64],
    as_of_us: NDArray[np.int64],
    inputs: ScoreInputs,
) -> tuple[Rows, Rows]:
    """Scores the members, writes the scores into the state, and returns score rows and outbox rows.

    A member who enters High or Critical from a lower category, or for the first time, gets a care alert.
    """
    rows, outbox = Rows.of(SCORE_COLUMNS), Rows.of(OUTBOX_COLUMNS)
    if not len(slots):
        return rows, outbox
    scores = scorer.score(inputs)
    before = state["category"][slots].tolist()
    _remember(state, slots, as_of_us, scores)
    for i, slot in enumerate(slots.tolist()):
        row = _row(scorer, state, slot, int(as_of_us[i]), inputs, scores, i)
        outbox.append(topic=SCORES_UPDATED, message_key=state.ids[slot], payload=_encode(_message(row)))
        category = int(scores.category[i])
        if category >= HIGH and category > before[i]:
            alert = {
                **_message(row),
                "alert_id": f"{state.partition}-{state.seq}-{state.ids[slot]}",
                "previous_category": CATEGORIES[before[i]] if before[i] >= 0 else None,
                "risk_factors": msgspec.Raw(cast(bytes, row["risk_factors"])),
                "interventions": row["interventions"],
            }
            outbox.append(topic=CARE_ALERTS, message_key=state.ids[slot], payload=_encode(alert))
        rows.append(**row)
    return rows, outbox


def _remember(
    state: PartitionState, slots: NDArray[np.int64], as_of_us: NDArray[np.int64], scores: HealthScores
) -> None:
    state["score"][slots] = scores.score
    state["category"][slots] = scores.category
    state["cost"][slots] = scores.cost
    state["news2"][slots] = scores.news2
    state["scored_as_of"][slots] = as_of_us


def _row(
    scorer: HealthScorer,
    state: PartitionState,
    slot: int,
    as_of_us: int,
    inputs: ScoreInputs,
    scores: HealthScores,
    i: int,
) -> dict[str, object]:
    factors, interventions = scorer.explain(inputs, scores, i)
    mean, lower, upper = (None if np.isnan(value) else value for value in scores.cost[i].tolist())
    score = float(scores.score[i])
    news2 = int(scores.news2[i])
    return {
        "member_id": state.ids[slot],
        "as_of": as_of_us,
        "score": None if np.isnan(score) else score,
        "category": category_name(int(scores.category[i])),
        "predicted_cost": mean,
        "cost_lower_90": lower,
        "cost_upper_90": upper,
        "news2": news2 if news2 >= 0 else None,
        "components": scores.components[i],
        "risk_factors": _encode([asdict(factor) for factor in factors]),
        "interventions": interventions,
        "model_version": scorer.version,
        "partition": state.partition,
        "seq": state.seq,
    }


def _message(row: dict[str, object]) -> dict[str, object]:
    names = (
        "member_id",
        "score",
        "category",
        "predicted_cost",
        "cost_lower_90",
        "cost_upper_90",
        "model_version",
        "seq",
    )
    return {"v": MESSAGE_VERSION, "as_of": cast(int, row["as_of"]) // 1000, **{name: row[name] for name in names}}


def current_score(scorer: HealthScorer, state: PartitionState, slot: int, inputs: ScoreInputs) -> dict[str, object]:
    """The member's score as the state holds it now, as a row of the score history (without its commit's time).

    Recomputed from the state with the as-of time of the last scoring, so it equals the row that was committed then
    unless newer events wait for the daily batch.
    """
    scores = scorer.score(inputs)
    return _row(scorer, state, slot, int(state["scored_as_of"][slot]), inputs, scores, 0)


def dead_letter_messages(letters: Rows) -> Rows:
    """Outbox rows that carry the dead letters to their topic, keyed by topic, partition and offset."""
    outbox = Rows.of(OUTBOX_COLUMNS)
    columns = letters.columns
    for i in range(len(letters)):
        place = f"{columns['topic'][i]}-{columns['partition'][i]}-{columns['kafka_offset'][i]}"
        message = {
            "v": MESSAGE_VERSION,
            **{name: columns[name][i] for name in ("topic", "partition", "kafka_offset", "reason", "field", "message")},
        }
        outbox.append(topic=DEAD_LETTER_TOPIC, message_key=place, payload=_encode(message))
    return outbox
