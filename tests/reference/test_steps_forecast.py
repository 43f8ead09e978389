"""The behavioural model: the kernel is Keras, and it beats the simple forecasts on persons it has not seen."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import SourceError
from engine.learning import fit_behavior, registry
from engine.learning.daily import read_fitabase, read_lifesnaps, without_gaps
from engine.learning.predict import predict_steps
from engine.scoring.steps_forecast import SERIES, DailySeries
from tests.conftest import shared_data


def card() -> registry.ModelCard:
    return next(card for card in registry.cards() if card.name == registry.BEHAVIOR)


def test_the_kernel_gives_what_keras_gave() -> None:
    series = fit_behavior.check_series()
    found = registry.load_behavior().raw(series)[0]
    np.testing.assert_allclose(found, np.array(card().training["keras_outputs"]), rtol=1e-5)
    assert np.ptp(found[:, 1]) > 500, "a network that says the same of every day would agree as well"


def test_a_wrong_gate_order_would_be_seen() -> None:
    weights = card().calibration
    swapped = np.array(weights["kernel"])
    units = swapped.shape[1] // 4
    swapped[:, :units], swapped[:, units : 2 * units] = swapped[:, units : 2 * units].copy(), swapped[:, :units].copy()
    model = registry.load_behavior()
    model._arrays = (swapped, *model._arrays[1:])
    found, _ = model.raw(fit_behavior.check_series())
    assert not np.allclose(found, np.array(card().training["keras_outputs"]), rtol=1e-4)


def test_the_simple_forecasts_and_the_cards_figures() -> None:
    own = without_gaps(read_lifesnaps(shared_data("lifesnaps") / "daily.csv").series)
    model = registry.load_behavior()
    seen = fit_behavior.evaluate(own, np.sort(model.raw(own)[0], axis=1))
    known = card().metrics
    for name in ("persons", "weeks", "mae_last_week_mean"):
        assert seen[name] == known[name]
    share = known["mae_to_last_week_mean"]
    assert seen["mae_to_last_week_mean"]["weighted_mean_half_life_10"] == share["weighted_mean_half_life_10"]
    assert share["model"] <= share["weighted_mean_half_life_10"] * 0.87 / 0.90
    assert 0.76 <= known["coverage_80"] <= 0.84
    # on persons it was trained on it must not be much better: that would be memory
    assert seen["mae_to_last_week_mean"]["model"] >= share["model"] - 0.03


def test_days_after_the_date_do_not_change_its_forecast() -> None:
    series, model = fit_behavior.check_series(), registry.load_behavior()
    changed = series.values.copy()
    changed[31:60] = 99_999.0
    found = model.forecast(DailySeries(series.starts, series.days, changed))
    for one, other in zip(model.forecast(series), found, strict=True):
        np.testing.assert_array_equal(one[:31], other[:31])
        np.testing.assert_array_equal(one[60:], other[60:])
        assert not np.array_equal(one[31:60], other[31:60])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 59), min_size=2, max_size=40, unique=True))
def test_a_day_without_a_row_is_a_day_without_data(kept: list[int]) -> None:
    series, model = fit_behavior.check_series(), registry.load_behavior()
    rows = np.array(sorted(kept))
    sparse = DailySeries(np.array([0, len(rows)]), series.days[rows], series.values[rows])
    filled = without_gaps(sparse)
    at = sparse.days - sparse.days[0]
    for one, other in zip(model.forecast(sparse), model.forecast(filled), strict=True):
        np.testing.assert_allclose(one, other[at], rtol=1e-9)


def test_the_interval_holds_the_median_and_is_not_negative() -> None:
    middle, low, high = registry.load_behavior().forecast(fit_behavior.check_series())
    assert (low >= 0).all() and (low <= middle).all() and (middle <= high).all() and (high - low > 500).all()


def test_files_are_read_as_they_are() -> None:
    table = read_lifesnaps(shared_data("lifesnaps") / "daily.csv")
    assert len(table.ids) == 36 and len(table.series.days) == 3844
    assert np.isfinite(table.series.values[:, SERIES.index("steps")]).sum() == 2494
    other = read_fitabase(shared_data("fitbit_fitabase_2016"))
    assert len(other.ids) == 33 and len(other.series.days) == 940
    assert np.isfinite(other.series.values[:, SERIES.index("sleep_minutes")]).sum() == 410


def test_each_day_with_fourteen_earlier_ones_is_forecast(tmp_path: Path) -> None:
    lines = [f"a,2024-01-{day:02d},{'' if day % 5 == 0 else 6000 + 100 * day}" for day in range(1, 21)]
    lines += [f"b,2024-01-{day:02d}," for day in range(1, 17)]
    (tmp_path / "d.csv").write_text("id,date,steps\n" + "\n".join(reversed(lines)) + "\n")
    found, unknown = predict_steps(registry.load_behavior(), tmp_path / "d.csv", tmp_path / "o.parquet")
    table = pq.read_table(tmp_path / "o.parquet")
    assert table.column_names == ["id", "date", "steps_next7_mean", "lower_80", "upper_80", "reason"]
    rows = table.to_pylist()
    assert [(row["id"], row["date"].day) for row in rows] == [("a", d) for d in range(15, 21)] + [("b", 15), ("b", 16)]
    assert (found, unknown) == (6, 2)
    for row in rows:
        if row["id"] == "b":
            assert row["steps_next7_mean"] is None and row["reason"] == "no day of known steps"
        else:
            assert 4000 < row["lower_80"] < row["steps_next7_mean"] < row["upper_80"] < 12_000


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("id,date\n1,2024-01-01\n", "no column 'steps'"),
        ("id,date,steps\n1,2024-01-01,x\n", "steps"),
        ("id,date,steps\n1,2024-13-01,5\n", "date"),
        ("id,date,steps\n1,2024-01-01,5\n1,2024-01-01,6\n", "2024-01-01 twice"),
        (None, "is not a file"),
    ],
)
def test_a_table_that_cannot_be_read_is_named(tmp_path: Path, content: str | None, told: str) -> None:
    if content is not None:
        (tmp_path / "d.csv").write_text(content)
    with pytest.raises(SourceError, match=told):
        read_lifesnaps(tmp_path / "d.csv")
