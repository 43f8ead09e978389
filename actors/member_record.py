"""A member as a record to score: from the events that PostgreSQL keeps of them."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from actors.rebuild import rebuilt
from engine.domain.events import CLAIM, METALS, PHARMACY
from engine.domain.metrics import LAB_TESTS, METRICS
from engine.scoring.features import BASE_FEATURES
from engine.scoring.measures import VALID_US
from engine.scoring.member_features import base_features
from engine.scoring.record import HealthRecord
from engine.scoring.state_kernels import DAYS
from engine.storage.history import history, stored_events
from engine.streams.topics import partition_of

_US_PER_DAY = 86_400_000_000


def member_record(url: str, member_id: str) -> HealthRecord | None:
    """What is known of the member at their latest event; None for one of whom no event is stored.

    It holds what the daily batch scores, but for the steps forecast, which a record does not carry.
    """
    partition = partition_of(member_id)
    with history(url) as connection:
        state = rebuilt(connection, partition, member_id)
        if not len(state):
            return None
        claims, fills = (
            [event for some in stored_events(connection, kind, partition, member_id) for event in some]
            for kind in (CLAIM, PHARMACY)
        )
    slot = np.zeros(1, np.int64)
    as_of = np.asarray(state["watermark"][slot])
    now = int(as_of[0])
    features = base_features(state, slot, as_of)[0].tolist()
    means, counts = state.windows(slot, (DAYS,))
    month, days = means[0, :, 0].tolist(), counts[0].tolist()
    measured = zip(METRICS, *(column[0].tolist() for column in state.latest_readings(slot)), strict=True)
    tested = zip(LAB_TESTS, *(column[0].tolist() for column in state.latest_results(slot)), strict=True)
    return HealthRecord(
        as_of_us=now,
        features={f.code: v for f, v in zip(BASE_FEATURES, features, strict=True) if v == v},
        month={m.code: v for m, v in zip(METRICS, month, strict=True) if v == v},
        days={m.code: d for m, d in zip(METRICS, days, strict=True) if d},
        vitals={m.code: v for m, time, v in measured if 0 <= now - time <= _US_PER_DAY},
        diagnoses=_said(now, ((c, c.service_date, c.diagnoses) for c in claims if c.status != "denied")),
        labs={t.code: v for t, time, v in tested if 0 <= now - time <= VALID_US},
        observed_days=max(0, now // _US_PER_DAY - int(state["since_day"][0])),
        commercial=bool(state["commercial"][0]),
        metal=METALS[int(state["metal"][0])],
        drugs=_said(now, ((fill, fill.fill_date, [fill.ndc]) for fill in fills)),
    )


def _said(now_us: int, events: Iterable[tuple[Any, dt.date, Sequence[str]]]) -> list[str]:
    """Codes on events, each with its day and codes, of the year of `now_us` and the year before it that still stand."""
    year = dt.datetime.fromtimestamp(now_us / 1e6, dt.UTC).year
    said: Counter[str] = Counter()
    for event, day, codes in events:
        if year - 1 <= day.year <= year:
            for code in codes:
                said[code] += 1 if event.sign is None else event.sign
    return [code for code, times in said.items() if times > 0]
