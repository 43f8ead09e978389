"""Score rows as PostgreSQL keeps them: numbers, and once a model set the words that these stand for.

Written out, a row's lists of codes, dollars and values take 900 bytes; at 10 million members that is most of what a
commit writes. So `details` holds them as bytes: of each list of WORDS in turn its length and its indices into the model
set's words, a byte each, then of each risk factor its dollars and its value, big-endian float32, NaN where they are
null. Both come out as they went in: `risk_factors.ranked` rounds them to what a float32 carries.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from numba import njit
from numpy.typing import NDArray

from engine.domain.batch import RealLists, TextColumn, TextLists
from engine.domain.decimals import shortest
from engine.domain.tables import RISK_CATEGORIES
from engine.storage.turns import Turn

WORDS = ("components", "risk_factors", "hccs", "interventions")
"""The lists of words, in their order in `details`."""
NUMBERS = ("factor_dollars", "factor_values")
DIGITS = (2, 3)
"""Decimals that are kept of dollars and of values."""
_MOST = 256
_INSUFFICIENT = len(RISK_CATEGORIES) - 1
Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Words:
    """What the numbers of score rows stand for: the version of models and rules, and the options of each list."""

    model_version: str
    lists: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, columns: Mapping[str, Any]) -> "Words":
        """Those of columns of score rows, all of one version. Raises ValueError where a list has too many options."""
        (version,) = columns["model_version"].distinct()[0]
        lists = tuple(columns[name].options for name in WORDS)
        for name, options in zip(WORDS, lists, strict=True):
            if len(options) > _MOST:
                raise ValueError(f"{name}: {len(options)} words of models {version}, a score row tells {_MOST} apart")
        return cls(version, lists)


def placed(table: str, columns: Mapping[str, Any], number: Callable[[Words], int]) -> tuple[str, Mapping[str, Any]]:
    """Where PostgreSQL keeps rows that a batch has made for `table`, and their columns there: scores are compacted.

    `number` gives the number of the model set of these words.
    """
    if table != "scores":
        return table, columns
    return "score_rows", compact(columns, number(Words.of(columns)))


def compact(columns: Mapping[str, Any], model_set: int) -> dict[str, Any]:
    """Columns of the table `score_rows` from those of `told.score_columns` and the columns beside them."""
    names, which = columns["category"].distinct()
    places = np.array([RISK_CATEGORIES.index(name) for name in names], np.int64)[which]
    kept = {name: values for name, values in columns.items() if name not in (*WORDS, *NUMBERS, "model_version")}
    n = len(which)
    return kept | {
        "category": np.where(places == _INSUFFICIENT, -1, places),
        "news2": np.where(np.isnan(columns["news2"]), -1, columns["news2"]).astype(np.int64),
        "model_set": np.full(n, model_set),
        "details": _details([columns[name] for name in WORDS], [columns[name] for name in NUMBERS]),
    }


def _details(words: list[TextLists], numbers: list[RealLists]) -> TextColumn:
    sizes = np.diff([each.ends for each in words], axis=1, prepend=0)
    lengths = len(words) + sizes.sum(axis=0) + 8 * sizes[WORDS.index("risk_factors")]
    out = np.empty(int(lengths.sum()), np.uint8)
    starts = lengths.cumsum() - lengths
    for k, each in enumerate(words):
        _put_words(out, starts + k + sizes[:k].sum(axis=0), each.which, each.ends)
    pairs = np.stack([each.values for each in numbers], axis=1).astype(">f4").view(np.uint8)
    _put_numbers(out, starts + len(words) + sizes.sum(axis=0), pairs, numbers[0].ends)
    return TextColumn(out, starts, lengths)


@njit(cache=True, nogil=True)
def _put_words(out: Bytes, places: Integers, which: Integers, ends: Integers) -> None:
    at = 0
    for i in range(len(places)):
        place = places[i]
        out[place] = ends[i] - at
        while at < ends[i]:
            place += 1
            out[place] = which[at]
            at += 1


@njit(cache=True, nogil=True)
def _put_numbers(out: Bytes, places: Integers, pairs: Bytes, ends: Integers) -> None:
    at = 0
    for i in range(len(places)):
        place = places[i]
        while at < ends[i]:
            for k in range(8):
                out[place + k] = pairs[at, k]
            place += 8
            at += 1


def expanded(row: Mapping[str, Any], words: Words) -> dict[str, Any]:
    """A stored row with words, dollars and values in place of `category`, `model_set` and `details`."""
    plain = {name: value for name, value in row.items() if name not in ("model_set", "details")}
    details, at = bytes(row["details"]), 0
    for name, options in zip(WORDS, words.lists, strict=True):
        count = details[at]
        plain[name] = [options[k] for k in details[at + 1 : at + 1 + count]]
        at += 1 + count
    pairs = np.frombuffer(details, ">f4", offset=at).astype(np.float32).reshape(-1, len(NUMBERS))
    for k, (name, digits) in enumerate(zip(NUMBERS, DIGITS, strict=True)):
        plain[name] = [None if number != number else number for number in shortest(pairs[:, k], digits).tolist()]
    return plain | {
        "category": RISK_CATEGORIES[row["category"]],  # -1 is the last: insufficient data
        "news2": None if row["news2"] < 0 else row["news2"],
        "model_version": words.model_version,
    }


def model_set_of(connection: psycopg.Connection[Any], words: Words) -> int:
    """Number of the model set with these words, which is made where there is none. Shards that ask take turns."""
    names = ("model_version", *WORDS)
    values = (words.model_version, *map(list, words.lists))
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (Turn.MODEL_SETS.value,))
        same = " AND ".join(f"{name} = %s" for name in names)
        found = connection.execute(f"SELECT model_set FROM model_sets WHERE {same}", values).fetchone()
        if found is None:
            found = connection.execute(
                f"INSERT INTO model_sets ({', '.join(names)}) VALUES (%s, %s, %s, %s, %s) RETURNING model_set", values
            ).fetchone()
    if found is None:
        raise psycopg.DataError("INSERT into model_sets gave no number")
    return int(found[0])
