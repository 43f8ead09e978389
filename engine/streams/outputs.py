"""What a batch tells the world: score rows, `scores.updated`, `care.alerts`, and dead letters for their topic."""

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
    told = _told(scorer, inputs, scores)
    before = state["category"][slots].tolist()
    _remember(state, slots, as_of_us, scores)
    for i, slot in enumerate(slots.tolist()):
        row = _row(scorer.version, state, slot, int(as_of_us[i]), told[i])
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


def _told(scorer: HealthScorer, inputs: ScoreInputs, scores: HealthScores) -> list[dict[str, object]]:
    """What the scores say, member by member, as the columns of a row."""
    factors, interventions = scorer.explain(inputs, scores)
    numbers = np.column_stack([scores.score, scores.cost])
    rows = [[None if value != value else value for value in row] for row in numbers.tolist()]
    names = ("score", "predicted_cost", "cost_lower_90", "cost_upper_90")
    return [
        {
            **dict(zip(names, row, strict=True)),
            "category": category_name(category),
            "news2": news2 if news2 >= 0 else None,
            "components": components,
            "risk_factors": _encode(reasons),
            "interventions": recommended,
        }
        for row, category, news2, components, reasons, recommended in zip(
            rows,
            scores.category.tolist(),
            scores.news2.tolist(),
            scores.components,
            factors,
            interventions,
            strict=True,
        )
    ]


def _row(version: str, state: PartitionState, slot: int, as_of_us: int, told: dict[str, object]) -> dict[str, object]:
    return {
        "member_id": state.ids[slot],
        "as_of": as_of_us,
        **told,
        "model_version": version,
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
    told = _told(scorer, inputs, scores)
    return _row(scorer.version, state, slot, int(state["scored_as_of"][slot]), told[0])


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
