"""NEWS2 points at every band's edges: Royal College of Physicians, National Early Warning Score 2, 2017, chart 1."""

import numpy as np
import pytest

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
    row = vitals.PARAMETERS.index(parameter)
    for points in (vitals.points, vitals.points.py_func):
        assert [points(row, float(value)) for value, _ in bands] == [given for _, given in bands]
        assert points(row, np.nan) == 0


def score(now: int, **measured: tuple[float, int]) -> int:
    values, times = np.full(len(vitals.VITALS), np.nan), np.full(len(vitals.VITALS), np.iinfo(np.int64).min)
    for code, (value, at) in measured.items():
        values[vitals.VITALS.index(code)], times[vitals.VITALS.index(code)] = value, at
    aggregate = vitals.news2(values, times, now)
    assert vitals.news2.py_func(values, times, now) == aggregate
    return aggregate


def test_the_aggregate_adds_the_parameters() -> None:
    assert score(10, spo2=(85, 9), respiratory_rate=(28, 9), heart_rate=(135, 10)) == 9
    assert score(10, spo2=(97, 9)) == 0
    assert score(10) == vitals.NOT_MEASURED


def test_a_vital_sign_counts_for_a_day() -> None:
    day = vitals.FRESH_US
    assert score(day, spo2=(85, 1)) == 3
    assert score(day, spo2=(85, 0)) == vitals.NOT_MEASURED
    assert score(day, spo2=(85, day)) == 3
    assert score(day, spo2=(85, day + 1)) == vitals.NOT_MEASURED


def test_the_resting_heart_rate_stands_for_the_pulse() -> None:
    assert score(5, heart_rate=(150, 5), resting_heart_rate=(62, 1)) == 0
    assert score(5, heart_rate=(150, 5)) == 3
    assert score(vitals.FRESH_US + 5, heart_rate=(150, 9), resting_heart_rate=(62, 5)) == 3
