"""What scores say, as columns of the score history, and one member's row of them for people."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.domain.batch import RealLists, TextColumn, TextLists
from engine.scoring import clinical, commercial, risk_factors
from engine.scoring.health_score import CATEGORIES, COMPONENTS, INSUFFICIENT, HealthScorer
from engine.scoring.risk_factors import Grounds
from engine.scoring.score_kernel import Known, Scored

_FACTOR_COLUMNS = ("factor_dollars", "factor_values", "hccs")
_CMS_BITS = 128
_MAYBE = ("score", "predicted_cost", "cost_lower_90", "cost_upper_90", "news2")
_CATEGORY_NAMES = (INSUFFICIENT, *CATEGORIES)


def score_columns(scorer: HealthScorer, known: Known, scores: Scored, grounds: Grounds) -> dict[str, Any]:
    """What a row of the score history says from `score` to `model_version`, a row a member; NaN is not known.

    `engine.storage.score_rows` makes of them what the table holds.
    """
    n, explained = len(scores.score), scorer.explain(known, scores, grounds)
    given = explained.factors.which >= 0
    ends = given.sum(axis=1).cumsum()
    hccs, hcc_ends = _held(scores)
    return {
        "score": scores.score,
        "category": TextColumn.chosen(_CATEGORY_NAMES, scores.category + 1),
        "predicted_cost": scores.cost[:, 0],
        "cost_lower_90": scores.cost[:, 1],
        "cost_upper_90": scores.cost[:, 2],
        "news2": np.where(scores.news2 >= 0, scores.news2, np.nan),
        "components": TextLists.of(COMPONENTS, np.where(scores.components, np.arange(len(COMPONENTS)), -1)),
        "risk_factors": TextLists.of(risk_factors.FACTOR_CODES, explained.factors.which),
        "factor_dollars": RealLists(explained.factors.dollars[given], ends),
        "factor_values": RealLists(explained.factors.values[given], ends),
        "hccs": TextLists(_hcc_codes(), hccs, hcc_ends),
        "interventions": TextLists.of(scorer.catalogue.codes, explained.interventions),
        "model_version": TextColumn.chosen((scorer.version,), np.zeros(n, np.int64)),
    }


@cache
def _hcc_codes() -> tuple[str, ...]:
    """CMS's HCCs and then HHS's."""
    return clinical.hcc_codes() + commercial.hcc_codes()


def _held(scores: Scored) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The HCCs of members as indices into `_hcc_codes`, member by member, and where each member's end."""
    which, lengths = np.empty(0, np.int64), np.zeros(len(scores.hccs), np.int64)
    words = np.concatenate([scores.hccs, scores.hhs_hccs], axis=1)
    ill = np.flatnonzero((words != 0).any(axis=1))
    if len(ill):
        bits = np.unpackbits(np.ascontiguousarray(words[ill], "<u8").view(np.uint8), axis=1, bitorder="little")
        which, lengths[ill] = np.nonzero(bits)[1], bits.sum(axis=1)
        which = np.where(which < _CMS_BITS, which, which - _CMS_BITS + len(clinical.hcc_codes()))
    return which, lengths.cumsum()


def with_factors(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the score history with its risk factors as people read them, in place of the columns that hold them."""
    plain = {name: value for name, value in row.items() if name not in _FACTOR_COLUMNS}
    dollars, values, hccs = (row[name] for name in _FACTOR_COLUMNS)
    return {**plain, "risk_factors": risk_factors.told(row["risk_factors"], dollars, values, hccs)}


def told_rows(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of `score_columns` and columns beside them as plain values, their factors told."""
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [_told(dict(zip(columns, row, strict=True))) for row in rows]


def told_row(columns: Mapping[str, Any], i: int) -> dict[str, Any]:
    """Row `i` of `told_rows`."""
    return _told({n: c[i].item() if isinstance(c, np.ndarray) else c[i] for n, c in columns.items()})


def _told(row: dict[str, Any]) -> dict[str, Any]:
    for name in _MAYBE:
        if row[name] != row[name]:
            row[name] = None
    row["news2"] = None if row["news2"] is None else int(row["news2"])
    return with_factors(row)
