"""Trees evaluated by our kernels against xgboost itself, and their contributions against the definition."""

from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ModelError
from engine.scoring import trees as kernels
from engine.scoring.trees import Trees, trees_of


def boosted(depth: int, rounds: int = 30, seed: int = 1, **more: Any) -> xgboost.Booster:
    """Trees fitted on made-up rows of five features, a fifth of whose values are not known."""
    chance = np.random.default_rng(seed)
    rows = some_rows(2000, seed)
    label = np.nansum(rows[:, :2], axis=1) + np.nan_to_num(rows[:, 2] * rows[:, 3]) + chance.normal(size=2000)
    parameters = {"max_depth": depth, "eta": 0.3, "seed": seed, "nthread": 1, "min_child_weight": 5, "gamma": 1.0}
    return xgboost.train(parameters | more, xgboost.DMatrix(rows, label), rounds)


def some_rows(n: int, seed: int) -> np.ndarray:
    """Rows of five features with missing values and with ties at round numbers."""
    chance = np.random.default_rng(seed)
    rows = np.round(chance.normal(size=(n, 5)), 1).astype(np.float32)
    rows[chance.random(rows.shape) < 0.2] = np.nan
    return rows


def read(booster: xgboost.Booster) -> Trees:
    """The booster as our trees."""
    return trees_of(booster.save_raw("json"))


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("n", [1, 7, 8, 63, 64, 65, 500])
def test_margins_are_those_of_xgboost_to_the_last_bit(depth: int, n: int) -> None:
    booster, rows = boosted(depth), some_rows(n, 2)
    expected = booster.predict(xgboost.DMatrix(rows), output_margin=True)
    assert read(booster).margins(rows)[:, 0].tolist() == expected.tolist()


def test_several_outputs_and_a_start_of_their_own() -> None:
    rows, more = some_rows(100, 3), {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.5, 0.9]}
    booster = boosted(3, **more)
    assert np.array_equal(read(booster).margins(rows), booster.predict(xgboost.DMatrix(rows)))
    start = np.linspace(-3, 3, 100, dtype=np.float32)[:, None]
    matrix = xgboost.DMatrix(rows, base_margin=start[:, 0])
    single = boosted(2)
    assert read(single).margins(rows, start)[:, 0].tolist() == single.predict(matrix, output_margin=True).tolist()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.floats(width=32), min_size=5, max_size=5), min_size=1, max_size=80))
def test_any_row_is_taken_as_xgboost_takes_it_alone_or_in_a_batch(rows: list[list[float]]) -> None:
    values = np.array(rows, np.float32)
    values[np.isinf(values)] = np.nan  # xgboost refuses infinity
    found = read(SHARED).margins(values)[:, 0]
    assert found.tolist() == SHARED.predict(xgboost.DMatrix(values), output_margin=True).tolist()
    assert found.tolist() == [float(read(SHARED).margins(values[i : i + 1])[0, 0]) for i in range(len(values))]


SHARED = boosted(3, rounds=8)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_contributions_are_those_of_xgboost_and_add_up(depth: int) -> None:
    booster, rows = boosted(depth), some_rows(300, 4)
    expected = booster.predict(xgboost.DMatrix(rows), pred_contribs=True)
    explained = read(booster).explained()
    found = explained.of(rows)
    assert np.allclose(found, expected[:, :-1], rtol=1e-5, atol=1e-5)
    assert explained.bias == pytest.approx(expected[0, -1], rel=1e-6)
    assert np.allclose(found.sum(axis=1) + explained.bias, read(booster).margins(rows)[:, 0], atol=1e-4)


def test_contributions_are_shapley_values_by_their_definition() -> None:
    """One tree over three features whose leaves and covers are written down here, worth by worth."""
    row, leaves, cover = np.array([[1.0, -1.0, 1.0]], np.float32), [1.0, 2.0, 4.0, 8.0], [10, 6, 4, 5, 1, 1, 3]
    tree = {
        "left_children": [1, 3, 5, -1, -1, -1, -1], "right_children": [2, 4, 6, -1, -1, -1, -1],
        "split_indices": [0, 1, 2, 0, 0, 0, 0], "split_conditions": [0.0, 0.0, 0.0, *leaves],
        "default_left": [0] * 7, "sum_hessian": cover,
    }  # fmt: skip

    def worth(known: tuple[int, ...]) -> float:
        low = leaves[0] if 1 in known else (5 * leaves[0] + 1 * leaves[1]) / 6
        high = leaves[3] if 2 in known else (1 * leaves[2] + 3 * leaves[3]) / 4
        return high if 0 in known else (6 * low + 4 * high) / 10

    def share(player: int) -> float:
        others = [p for p in range(3) if p != player]
        return sum(
            factorial(k) * factorial(2 - k) / 6 * (worth((*without, player)) - worth(without))
            for k in range(3)
            for without in combinations(others, k)
        )

    model = {"gradient_booster": {"model": {"trees": [tree], "tree_info": [0]}}}
    model |= {"learner_model_param": {"base_score": "[5E-1]", "num_feature": "3"}}
    made = trees_of(kernels.msgspec.json.encode({"learner": model}))
    assert made.margins(row)[0, 0] == 8.5
    assert made.explained().of(row)[0] == pytest.approx([share(p) for p in range(3)])
    assert made.explained().bias == pytest.approx(0.5 + worth(()))


def test_kernels_equal_their_python() -> None:
    made, rows = read(boosted(2, rounds=5)), some_rows(70, 6)
    nodes = (made.feature, made.threshold, made.default_left)
    walked, looked = (np.tile(made.intercept, (70, 1)) for _ in range(2))
    kernels._add_leaves.py_func(rows, made.depth, *nodes, made.leaf, made.group, walked)
    kernels._look_up_leaves.py_func(rows, *nodes, made.leaf_of, made.group, looked)
    assert np.array_equal(walked, made.margins(rows)) and np.array_equal(looked, walked)
    explained, few, many = made.explained(), np.zeros(rows.shape), np.zeros(rows.shape)
    kernels._add_contributions.py_func(rows, *nodes, explained._slots, explained._values, few)
    kernels._look_up_contributions.py_func(rows, *nodes, explained._slots, explained._values, many)
    assert np.array_equal(few, explained.of(rows)) and np.array_equal(many, few)
    assert np.array_equal(few[:1], explained.of(rows[:1]))


def test_what_is_no_tree_model_or_cannot_be_explained_is_refused() -> None:
    for payload in (b"{}", b"no json", b'{"learner": 3}'):
        with pytest.raises(ModelError, match="not a tree model"):
            trees_of(payload)
    linear = xgboost.train({"booster": "gblinear"}, xgboost.DMatrix(np.eye(3), np.arange(3)), 2)
    with pytest.raises(ModelError, match="not a tree model"):
        read(linear)
    with pytest.raises(ModelError, match="depth 9: 8 at most"):
        read(boosted(9, min_child_weight=0, gamma=0))
    with pytest.raises(ModelError, match="depth 4 with 1 outputs"):
        read(boosted(4)).explained()
    with pytest.raises(ModelError, match=r"shape \(2, 4\)"):
        read(boosted(1)).margins(np.zeros((2, 4), np.float32))
