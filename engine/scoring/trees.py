"""Gradient-boosted trees as arrays, evaluated by a kernel: what xgboost predicts, without importing xgboost.

Every tree is padded to a complete binary tree of the ensemble's depth, nodes in breadth-first order (children of i are
2 i + 1 and 2 i + 2), so that a row's way is arithmetic and several rows are under way at once. Sums are taken in
float32 in the order of the trees, as xgboost takes them: margins are equal to the last bit.

Contributions are the path-dependent Shapley values of Lundberg et al., Nature Machine Intelligence
2020;2:56, which xgboost calls pred_contribs. A shallow tree has few patterns of decisions, so its Shapley values are
tabulated once by their definition and then looked up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import factorial
from typing import Any

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.errors import ModelError

Singles = NDArray[np.float32]
Integers = NDArray[np.int64]
Patterns = NDArray[np.uint8]
DEEPEST = 8
SHALLOW = 3
"""Trees of this depth have 7 decisions, whose 128 patterns are tabulated; deeper ones are walked."""
_BLOCK = 64
_FEW = 8
"""Fewer rows are walked through the trees: a vector would be mostly empty. The sums are the same."""


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """An ensemble of complete trees of one depth.

    feature and threshold, default_left [trees, inner nodes]: a value goes left where it is below the threshold, an
    unknown one (NaN) by default_left; padding sends all left. leaf [trees, 2^depth]; cover [trees, nodes] is the
    hessian weight that training saw there; leaf_of [trees, patterns] is the leaf by decisions, empty for deep trees.
    group [trees] is the output each tree adds to, intercept [groups].
    """

    features: int
    depth: int
    feature: Integers
    threshold: Singles
    default_left: NDArray[np.bool_]
    leaf: Singles
    cover: NDArray[np.float64]
    leaf_of: Singles
    group: Integers
    intercept: Singles

    def margins(self, rows: Singles, start: Singles | None = None) -> Singles:
        """Sums of leaves [n, groups] over the intercept, or over `start` [n, groups], for rows [n, features]."""
        groups = len(self.intercept)
        out = np.empty((len(rows), groups), np.float32)
        out[:] = self.intercept if start is None else start.reshape(-1, groups)
        nodes = (self.feature, self.threshold, self.default_left)
        if self.depth <= SHALLOW and len(rows) >= _FEW:
            _look_up_leaves(self._checked(rows), *nodes, self.leaf_of, self.group, out)
        else:
            _add_leaves(self._checked(rows), self.depth, *nodes, self.leaf, self.group, out)
        return out

    def explained(self) -> "Contributions":
        """The tables from which contributions are looked up. Raises ModelError for trees too deep or many outputs."""
        if self.depth > SHALLOW or len(self.intercept) != 1:
            raise ModelError(
                f"trees of depth {self.depth} with {len(self.intercept)} outputs: contributions are tabulated "
                f"for a depth of {SHALLOW} at most and one output"
            )
        return Contributions(self, *_tables(self.depth, self.feature, self.threshold, self.leaf, self.cover))

    def _checked(self, rows: Singles) -> Singles:
        if rows.ndim != 2 or rows.shape[1] != self.features:
            raise ModelError(f"features of shape {rows.shape}: the model takes [n, {self.features}]")
        return np.ascontiguousarray(rows, np.float32)


class Contributions:
    """Shapley values of one ensemble. `bias` is the expectation to which they add up."""

    def __init__(
        self, trees: Trees, slots: Integers, values: NDArray[np.float64], expected: NDArray[np.float64]
    ) -> None:
        self._trees, self._slots, self._values = trees, slots, values
        self.bias = float(trees.intercept[0]) + float(expected.sum())

    def of(self, rows: Singles) -> NDArray[np.float64]:
        """Contributions [n, features] of rows [n, features]; with `bias` they sum to the margin."""
        trees = self._trees
        out = np.zeros((len(rows), trees.features))
        nodes = (trees.feature, trees.threshold, trees.default_left)
        look_up = _add_contributions if len(rows) < _FEW else _look_up_contributions
        look_up(trees._checked(rows), *nodes, self._slots, self._values, out)
        return out


@njit(cache=True, nogil=True)
def _add_leaves(
    rows: Singles,
    depth: int,
    feature: Integers,
    threshold: Singles,
    default_left: NDArray[np.bool_],
    leaf: Singles,
    group: Integers,
    out: Singles,
) -> None:
    """Adds each row's leaf of every tree, in order: walks the trees, a block of rows at a time."""
    inner = feature.shape[1]
    for first in range(0, len(rows), _BLOCK):
        last = min(first + _BLOCK, len(rows))
        for t in range(len(feature)):
            g = group[t]
            for i in range(first, last):
                node = 0
                for _ in range(depth):
                    value = rows[i, feature[t, node]]
                    left = (value < threshold[t, node]) | ((value != value) & default_left[t, node])
                    node = 2 * node + 2 - left
                out[i, g] += leaf[t, node - inner]


@njit(cache=True, nogil=True)
def _decide(
    block: Singles, n: int, feature: Integers, threshold: Singles, default_left: NDArray[np.bool_], out: Patterns
) -> None:
    """The pattern of decisions of each of n rows at all nodes of a tree: bit k is set where node k sends it right.

    block [features, _BLOCK]. Nodes outside, rows inside: the comparisons of a block run in the machine's vectors.
    """
    out[:n] = 0
    for node in range(len(feature)):
        column, limit, bit = block[feature[node]], threshold[node], np.uint8(1 << node)
        if default_left[node]:
            for i in range(n):
                out[i] |= bit * np.uint8(column[i] >= limit)
        else:
            for i in range(n):
                out[i] |= bit * np.uint8(not (column[i] < limit))


@njit(cache=True, nogil=True)
def _look_up_leaves(
    rows: Singles,
    feature: Integers,
    threshold: Singles,
    default_left: NDArray[np.bool_],
    leaf_of: Singles,
    group: Integers,
    out: Singles,
) -> None:
    """As `_add_leaves`, for shallow trees: takes all decisions and looks the leaf up, leaf_of [trees, patterns]."""
    block, patterns = np.empty((rows.shape[1], _BLOCK), np.float32), np.empty(_BLOCK, np.uint8)
    sums = np.empty((out.shape[1], _BLOCK), np.float32)
    for first in range(0, len(rows), _BLOCK):
        n = min(_BLOCK, len(rows) - first)
        for i in range(n):
            block[:, i] = rows[first + i]
            sums[:, i] = out[first + i]
        for t in range(len(feature)):
            _decide(block, n, feature[t], threshold[t], default_left[t], patterns)
            total, leaf = sums[group[t]], leaf_of[t]
            for i in range(n):
                total[i] += leaf[patterns[i]]
        for i in range(n):
            out[first + i] = sums[:, i]


@njit(cache=True, nogil=True)
def _add_contributions(
    rows: Singles,
    feature: Integers,
    threshold: Singles,
    default_left: NDArray[np.bool_],
    slots: Integers,
    values: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """As `_look_up_contributions`, row by row and without its blocks: for few rows. The sums are the same."""
    for i in range(len(rows)):
        for t in range(len(feature)):
            pattern = 0
            for node in range(feature.shape[1]):
                value = rows[i, feature[t, node]]
                left = (value < threshold[t, node]) | ((value != value) & default_left[t, node])
                pattern |= (1 - left) << node
            for k in range(slots.shape[1]):
                out[i, slots[t, k]] += values[t, k, pattern]


@njit(cache=True, nogil=True)
def _look_up_contributions(
    rows: Singles,
    feature: Integers,
    threshold: Singles,
    default_left: NDArray[np.bool_],
    slots: Integers,
    values: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    block, patterns = np.empty((rows.shape[1], _BLOCK), np.float32), np.empty(_BLOCK, np.uint8)
    sums = np.empty((rows.shape[1], _BLOCK))
    for first in range(0, len(rows), _BLOCK):
        n = min(_BLOCK, len(rows) - first)
        for i in range(n):
            block[:, i] = rows[first + i]
        sums[:] = 0.0
        for t in range(len(feature)):
            _decide(block, n, feature[t], threshold[t], default_left[t], patterns)
            for k in range(len(slots[t])):
                total, value = sums[slots[t, k]], values[t, k]
                for i in range(n):
                    total[i] += value[patterns[i]]
        for i in range(n):
            out[first + i] = sums[:, i]


@njit(cache=True, nogil=True)
def _expectations(
    inner: int, pattern: int, coalition: int, slot_of: Integers, leaf: Singles, cover: NDArray[np.float64]
) -> float:
    """Expected leaf of a tree when the features of the coalition decide as in the pattern, the others by cover."""
    value = np.empty(2 * inner + 1)
    value[inner:] = leaf
    for node in range(inner - 1, -1, -1):
        low, high = 2 * node + 1, 2 * node + 2
        if (coalition >> slot_of[node]) & 1:
            value[node] = value[high] if (pattern >> node) & 1 else value[low]
        elif cover[high] == 0.0:  # padding
            value[node] = value[low]
        else:
            value[node] = (cover[low] * value[low] + cover[high] * value[high]) / (cover[low] + cover[high])
    return float(value[0])


@njit(cache=True, nogil=True)
def _shapley(
    inner: int,
    slot_of: Integers,
    players: Integers,
    weights: NDArray[np.float64],
    leaf: Singles,
    cover: NDArray[np.float64],
    values: NDArray[np.float64],
    expected: NDArray[np.float64],
) -> None:
    """Fills values [trees, inner, patterns] and expected [trees]; weights [players, size of the coalition]."""
    for t in range(len(leaf)):
        expected[t] = _expectations(inner, 0, 0, slot_of[t], leaf[t], cover[t])
        n = players[t]
        for pattern in range(1 << inner):
            for coalition in range(1 << n):
                worth = _expectations(inner, pattern, coalition, slot_of[t], leaf[t], cover[t])
                size = 0
                for k in range(n):
                    size += (coalition >> k) & 1
                for k in range(n):
                    if (coalition >> k) & 1:
                        values[t, k, pattern] += weights[n, size - 1] * worth
                    else:
                        values[t, k, pattern] -= weights[n, size] * worth


def _tables(
    depth: int, feature: Integers, threshold: Singles, leaf: Singles, cover: NDArray[np.float64]
) -> tuple[Integers, NDArray[np.float64], NDArray[np.float64]]:
    """Feature of each player [trees, inner], Shapley values [trees, inner, patterns], expected leaf [trees]."""
    count, inner = feature.shape
    slots, players = np.zeros((count, inner), np.int64), np.zeros(count, np.int64)
    slot_of = np.full((count, inner), 62, np.int64)  # padding plays no part: no coalition has a bit 62
    for t in range(count):
        names = list(dict.fromkeys(feature[t][np.isfinite(threshold[t])].tolist()))
        players[t] = len(names)
        slots[t, : len(names)] = names
        for node in np.flatnonzero(np.isfinite(threshold[t])).tolist():
            slot_of[t, node] = names.index(int(feature[t, node]))
    weights = np.zeros((inner + 1, inner))
    for n in range(1, inner + 1):
        for size in range(n):
            weights[n, size] = factorial(size) * factorial(n - size - 1) / factorial(n)
    values, expected = np.zeros((count, inner, 1 << inner)), np.empty(count)
    _shapley(inner, slot_of, players, weights, leaf, cover, values, expected)
    return slots, values, expected


def trees_of(payload: bytes | bytearray) -> Trees:
    """The trees of a model that xgboost saved as JSON. Raises ModelError for what is not one of a tree booster."""
    try:
        learner = msgspec.json.decode(payload)["learner"]
        model, parameters = learner["gradient_booster"]["model"], learner["learner_model_param"]
        trees = model["trees"]
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise ModelError(f"not a tree model in xgboost's JSON format: {error!r}") from error
    intercept = np.array(str(parameters["base_score"]).strip("[]").split(","), np.float32)
    depth = max((_depth(tree, 0) for tree in trees), default=0)
    if depth > DEEPEST:
        raise ModelError(f"the model has trees of depth {depth}: {DEEPEST} at most can be padded")
    padded = [_padded(tree, depth) for tree in trees]
    columns = [np.array([tree[i] for tree in padded]) for i in range(5)]
    return Trees(
        int(parameters["num_feature"]),
        depth,
        columns[0].astype(np.int64),
        columns[1].astype(np.float32),
        columns[2].astype(np.bool_),
        columns[3].astype(np.float32),
        columns[4].astype(np.float64),
        _leaves_by_pattern(depth, columns[3].astype(np.float32)),
        np.array(model["tree_info"], np.int64),
        intercept,
    )


def _leaves_by_pattern(depth: int, leaf: Singles) -> Singles:
    """Leaf [trees, patterns] that the decisions of a pattern lead to; no patterns where there would be too many."""
    if depth > SHALLOW:
        return np.empty((len(leaf), 0), np.float32)
    inner = 2**depth - 1
    pattern, node = np.arange(1 << inner), np.zeros(1 << inner, np.int64)
    for _ in range(depth):
        node = 2 * node + 1 + (pattern >> node & 1)
    return np.ascontiguousarray(leaf[:, node - inner])


def _depth(tree: Mapping[str, Any], node: int) -> int:
    left, right = tree["left_children"][node], tree["right_children"][node]
    return 0 if left < 0 else 1 + max(_depth(tree, left), _depth(tree, right))


def _padded(tree: Mapping[str, Any], depth: int) -> tuple[list[int], list[float], list[bool], list[float], list[float]]:
    """feature, threshold, default_left, leaf and cover of the tree as a complete one; a leaf above sends all left."""
    inner = 2**depth - 1
    feature, threshold, default_left = [0] * inner, [np.inf] * inner, [True] * inner
    leaf, cover, at = [0.0] * (inner + 1), [0.0] * (2 * inner + 1), [-1] * (2 * inner + 1)
    at[0] = 0
    for node in range(2 * inner + 1):
        source = at[node]
        if source < 0:
            continue
        cover[node] = tree["sum_hessian"][source]
        is_leaf = tree["left_children"][source] < 0
        if node >= inner:
            leaf[node - inner] = tree["split_conditions"][source]
        elif is_leaf:
            at[2 * node + 1] = source
        else:
            feature[node], threshold[node] = tree["split_indices"][source], tree["split_conditions"][source]
            default_left[node] = bool(tree["default_left"][source])
            at[2 * node + 1], at[2 * node + 2] = tree["left_children"][source], tree["right_children"][source]
    return feature, threshold, default_left, leaf, cover
