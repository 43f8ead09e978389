"""NEWS2 points at every band's edges: Royal College of Physicians, National Early Warning Score 2, 2017, chart 1."""

import numpy as np
import pytest

from engine.domain.metrics import METRIC_INDEX, METRICS
from engine.scoring import vitals

CHART = [
    ("respiratory_rate", [(8, 3), (9, 1), (11, 1), (12, 0), (20, 0), (21, 2), (24, 2), (25, 3)]),
    ("spo2", [(91, 3), (92, 2), (93, 2), (94, 1), (95, 1), (96, 0), (100, 0)]),
    ("systolic_bp", [(90, 3), (91, 2), (100, 2), (101, 1), (110, 1), (111, 0), (219, 0), (220, 3)]),
    ("pulse", [(40, 3), (41, 1), (50, 1), (51, 0), (90, 0), (91, 1), (110, 1), (111, 2), (130, 2), (131, 3)]),
    ("body_temperature", [(35.0, 3), (35.1, 1), (36.0, 1), (36.1, 0), (38.0, 0), (38.1, 1), (39.0, 1), (39.1, 2)]),
]


@pytest.mark.parametrize(("parameter", "bands"), CHART)
def test_points_at_the_edges(parameter: str, bands: list[tuple[float, int]]) -> None:
    values = np.array([value for value, _ in bands], float)
    assert vitals.points(parameter, values).tolist() == [points for _, points in bands]
    assert vitals.points(parameter, np.array([np.nan])).tolist() == [0]


def measured(**values: tuple[float, int]) -> tuple[np.ndarray, np.ndarray]:
    last, time = np.full((1, len(METRICS)), np.nan), np.full((1, len(METRICS)), np.iinfo(np.int64).min)
    for code, (value, at) in values.items():
        last[0, METRIC_INDEX[code]], time[0, METRIC_INDEX[code]] = value, at
    return last, time


def score(now: int, **values: tuple[float, int]) -> tuple[int, int]:
    aggregate, highest = vitals.news2(*measured(**values), np.array([now]))
    return int(aggregate[0]), int(highest[0])


def test_the_aggregate_adds_the_parameters() -> None:
    assert score(10, spo2=(85, 9), respiratory_rate=(28, 9), heart_rate=(135, 10)) == (9, 3)
    assert score(10, spo2=(97, 9)) == (0, 0)
    assert score(10) == (vitals.NOT_MEASURED, vitals.NOT_MEASURED)


def test_a_vital_sign_counts_for_a_day() -> None:
    day = vitals.FRESH_US
    assert score(day, spo2=(85, 1)) == (3, 3)
    assert score(day, spo2=(85, 0)) == (vitals.NOT_MEASURED, vitals.NOT_MEASURED)


def test_the_resting_heart_rate_stands_for_the_pulse() -> None:
    assert score(5, heart_rate=(150, 5), resting_heart_rate=(62, 1)) == (0, 0)
