"""What a batch tells the world: score rows, `scores.updated`, `care.alerts`, and dead letters for their topic."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.domain.batch import Rows
from engine.scoring.emission import Emission
from engine.scoring.health_score import CATEGORIES, HIGH, HealthScorer, joined, taken
from engine.scoring.member_features import grounds, known
from engine.scoring.member_state import PartitionState
from engine.scoring.score_kernel import Known
from engine.scoring.told import score_columns, told_row
from engine.streams import score_messages
from engine.streams.score_messages import MESSAGE_VERSION
from engine.streams.topics import CARE_ALERTS, DEAD_LETTER_TOPIC, SCORES_UPDATED

OUTBOX_COLUMNS = ("topic", "message_key", "payload")
_TOLD = ("member_id", "score", "category", "predicted_cost", "cost_lower_90", "cost_upper_90", "model_version", "seq")
_encode = msgspec.json.Encoder().encode


class Place(NamedTuple):
    """Members of one partition: its state, their slots, and the instants their scores are as of.

    Where they are `asked` for by a command, all have a row; otherwise those whose score says something new.
    """

    state: PartitionState
    slots: NDArray[np.int64]
    as_of_us: NDArray[np.int64]
    asked: bool


def score_rows(scorer: HealthScorer, parts: Sequence[Place], gathered: Known) -> list[tuple[Rows, Rows]]:
    """Scores the members, writes that into the states, and returns each part's score rows and outbox rows.

    `gathered` is what is known of those of all parts, one part after the other. Rows there are by the rule of
    `emission`; factors are made of these alone. `scores.updated` of a part is one outbox row, in the packed form of
    `score_messages`. A member who enters High or Critical from a lower category, or for the first time, gets a care
    alert.
    """
    scores, start = scorer.score(gathered), 0
    chosen = []
    for state, slots, as_of_us, asked in parts:
        own = taken(scores, slice(start, start + len(slots)))
        emission = Emission.of(scorer.rules, slots, own, as_of_us)
        which = np.arange(len(slots)) if asked else np.flatnonzero(emission.new(scorer.rules, state))
        emission.told(state, which)
        state["scored_as_of"][slots] = as_of_us
        chosen.append((start, which))
        start += len(slots)
    rows = np.concatenate([first + which for first, which in chosen])
    behind = [grounds(part.state, part.slots[which]) for part, (_, which) in zip(parts, chosen, strict=True)]
    told = taken(scores, rows)
    columns = score_columns(scorer, taken(gathered, rows), told, joined(behind))
    whole, start = Rows(columns), 0
    found = []
    for (state, slots, as_of_us, _), (_, which) in zip(parts, chosen, strict=True):
        stop = start + len(which)
        placed = _with_place(state, slots[which], as_of_us[which], whole.cut(start, stop).columns)
        found.append((Rows(placed), _outbox(state, slots[which], placed, told.category[start:stop])))
        start = stop
    return found


def _outbox(
    state: PartitionState,
    slots: NDArray[np.int64],
    columns: dict[str, Any],
    category: NDArray[np.int64],
) -> Rows:
    outbox = Rows.of(OUTBOX_COLUMNS)
    if not len(slots):
        return outbox
    outbox.append(topic=SCORES_UPDATED, message_key="", payload=score_messages.pack(columns))
    before = state["category"][slots].copy()
    state["category"][slots] = category
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


def current_scores(scorer: HealthScorer, state: PartitionState, slots: NDArray[np.int64]) -> Rows:
    """The members' scores as the state holds them now, as rows of the score history (without their commit's time).

    Recomputed from the state with the as-of time of the last scoring, so each is what that scoring found, written or
    not, unless newer events wait for the daily batch.
    """
    as_of_us = np.asarray(state["scored_as_of"][slots])
    gathered = known(state, slots, as_of_us, scorer.models.physiology)
    told = score_columns(scorer, gathered, scorer.score(gathered), grounds(state, slots))
    return Rows(_with_place(state, slots, as_of_us, told))


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
