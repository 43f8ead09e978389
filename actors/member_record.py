"""A member as a record to score: from the events that PostgreSQL keeps of them."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from actors.rebuild import rebuilt
from engine.domain.events import CLAIM
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
        claims = [claim for some in stored_events(connection, CLAIM, partition, member_id) for claim in some]
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
        diagnoses=_diagnoses(claims, now),
        labs={t.code: v for t, time, v in tested if 0 <= now - time <= VALID_US},
        observed_days=max(0, now // _US_PER_DAY - int(state["since_day"][0])),
    )


def _diagnoses(claims: Iterable[Any], now_us: int) -> list[str]:
    """Codes on claims of the year of `now_us` and of the year before it, as the claims that stand say them."""
    year = dt.datetime.fromtimestamp(now_us / 1e6, dt.UTC).year
    said: Counter[str] = Counter()
    for claim in claims:
        if year - 1 <= claim.service_date.year <= year and claim.status != "denied":
            sign = 1 if claim.sign is None else claim.sign
            for code in claim.diagnoses:
                said[code] += sign
    return [code for code, times in said.items() if times > 0]
