"""What a batch tells the world: score rows, `scores.updated`, `care.alerts`, and dead letters for their topic."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.domain.batch import Rows
from engine.scoring.health_score import CATEGORIES, HIGH, HealthScorer, ScoreInputs
from engine.scoring.member_state import PartitionState
from engine.scoring.told import score_columns, told_row
from engine.streams import score_messages
from engine.streams.score_messages import MESSAGE_VERSION
from engine.streams.topics import CARE_ALERTS, DEAD_LETTER_TOPIC, SCORES_UPDATED

OUTBOX_COLUMNS = ("topic", "message_key", "payload")
_TOLD = ("member_id", "score", "category", "predicted_cost", "cost_lower_90", "cost_upper_90", "model_version", "seq")
Place = tuple[PartitionState, NDArray[np.int64], NDArray[np.int64]]
"""Members of one partition: its state, their slots, and the instants their scores are as of."""
_encode = msgspec.json.Encoder().encode


def score_rows(scorer: HealthScorer, parts: Sequence[Place], inputs: ScoreInputs) -> list[tuple[Rows, Rows]]:
    """Scores the members, writes their category into the states, and returns each part's score rows and outbox rows.

    `inputs` are those of all parts, one part after the other. `scores.updated` of a part is one outbox row, in the
    packed form of `score_messages`. A member who enters High or Critical from a lower category, or for the first time,
    gets a care alert.
    """
    scores = scorer.score(inputs)
    told, start = Rows(score_columns(scorer, inputs, scores)), 0
    found = []
    for state, slots, as_of_us in parts:
        stop = start + len(slots)
        columns = _with_place(state, slots, as_of_us, told.cut(start, stop).columns)
        found.append((Rows(columns), _outbox(state, slots, as_of_us, columns, scores.category[start:stop])))
        start = stop
    return found


def _outbox(
    state: PartitionState,
    slots: NDArray[np.int64],
    as_of_us: NDArray[np.int64],
    columns: dict[str, Any],
    category: NDArray[np.int64],
) -> Rows:
    outbox = Rows.of(OUTBOX_COLUMNS)
    if not len(slots):
        return outbox
    outbox.append(topic=SCORES_UPDATED, message_key="", payload=score_messages.pack(columns))
    before = state["category"][slots].copy()
    state["category"][slots], state["scored_as_of"][slots] = category, as_of_us
    for i in np.flatnonzero((category >= HIGH) & (category > before)).tolist():
        row = told_row(columns, i)
        alert = {
            "v": MESSAGE_VERSION,
            "as_of": row["as_of"] // 1000,
            **{name: row[name] for name in _TOLD},
            "alert_id": f"{state.partition}-{state.seq}-{row['member_id']}",
            "previous_category": CATEGORIES[before[i]] if before[i] >= 0 else None,
            "risk_factors": row["risk_factors"],
            "interventions": row["interventions"],
        }
        outbox.append(topic=CARE_ALERTS, message_key=row["member_id"], payload=_encode(alert))
    return outbox


def _with_place(
    state: PartitionState, slots: NDArray[np.int64], as_of_us: NDArray[np.int64], told: dict[str, Any]
) -> dict[str, Any]:
    n = len(slots)
    return {
        "member_id": state.ids(slots),
        "as_of": as_of_us,
        **told,
        "partition": np.full(n, state.partition),
        "seq": np.full(n, state.seq),
    }


def current_score(scorer: HealthScorer, state: PartitionState, slot: int, inputs: ScoreInputs) -> dict[str, Any]:
    """The member's score as the state holds it now, as a row of the score history (without its commit's time).

    Recomputed from the state with the as-of time of the last scoring, so it equals the row that was committed then
    unless newer events wait for the daily batch.
    """
    slots = np.array([slot], np.int64)
    told = score_columns(scorer, inputs, scorer.score(inputs))
    return told_row(_with_place(state, slots, state["scored_as_of"][slots], told), 0)


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
