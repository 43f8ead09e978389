"""Score rows as numbers and back: whatever a row says, it says the same when it is read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domain.batch import RealLists, TextColumn, TextLists
from engine.domain.decimals import shortest
from engine.domain.tables import RISK_CATEGORIES
from engine.scoring.risk_factors import ranked
from engine.storage.score_rows import NUMBERS, WORDS, Words, compact, expanded

OPTIONS = {
    "components": ("base_risk", "clinical", "wearables"),
    "risk_factors": tuple(f"factor {i}" for i in range(256)),
    "hccs": ("HCC1", "HCC37"),
    "interventions": (),
}
carried = st.floats(-2e9, 2e9, width=32).map(lambda x: shortest(np.float32([x]), 2).item()) | st.none()
lists = {name: st.lists(st.sampled_from(options), max_size=5) for name, options in OPTIONS.items() if options}
rows = st.builds(
    lambda factors, **other: other | {"risk_factors": [f[0] for f in factors], "pairs": [f[1:] for f in factors]},
    st.lists(st.tuples(st.sampled_from(OPTIONS["risk_factors"]), carried, st.none()), max_size=5),
    components=lists["components"],
    hccs=lists["hccs"],
    category=st.sampled_from(RISK_CATEGORIES),
    news2=st.integers(0, 20) | st.none(),
)


def columns_of(found: list[dict]) -> dict:
    ends = {name: np.cumsum([len(row.get(name, ())) for row in found], dtype=np.int64) for name in WORDS}
    words = {
        name: TextLists(
            options, np.array([options.index(w) for row in found for w in row.get(name, ())], np.int64), ends[name]
        )
        for name, options in OPTIONS.items()
    }
    pairs = np.array([pair for row in found for pair in row["pairs"]], float).reshape(-1, 2)
    return words | {
        **{name: RealLists(pairs[:, k], ends["risk_factors"]) for k, name in enumerate(NUMBERS)},
        "category": TextColumn.chosen(RISK_CATEGORIES, np.array([RISK_CATEGORIES.index(r["category"]) for r in found])),
        "news2": np.array([np.nan if row["news2"] is None else row["news2"] for row in found], float),
        "model_version": TextColumn.chosen(("a, b+c",), np.zeros(len(found), np.int64)),
        "seq": np.arange(len(found)),
    }


@given(st.lists(rows, min_size=1, max_size=6))
def test_a_row_is_read_as_it_was_written(found: list[dict]) -> None:
    columns = columns_of(found)
    words = Words.of(columns)
    stored = compact(columns, 7)
    assert set(stored["model_set"].tolist()) == {7}
    details = stored["details"].packed().tobytes()
    for i, row in enumerate(found):
        end = int(stored["details"].lengths[: i + 1].sum())
        told = expanded(
            {
                "seq": i,
                "category": int(stored["category"][i]),
                "news2": int(stored["news2"][i]),
                "details": details[end - int(stored["details"].lengths[i]) : end],
                "model_set": 7,
            },
            words,
        )
        assert told == {
            "seq": i,
            "category": row["category"],
            "news2": row["news2"],
            "components": row["components"],
            "risk_factors": row["risk_factors"],
            "hccs": row["hccs"],
            "interventions": [],
            "factor_dollars": [dollars for dollars, _ in row["pairs"]],
            "factor_values": [None for _ in row["pairs"]],
            "model_version": "a, b+c",
        }


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=8))
def test_a_rounded_number_comes_back_from_a_float32(numbers: list[float]) -> None:
    given_ = np.array([numbers])
    factors = ranked(given_, given_, np.array([-1]), 5)
    for values, digits in ((factors.dollars, 2), (factors.values, 3)):
        known = values[~np.isnan(values)]
        back = [round(x, digits) for x in known.astype(np.float32).tolist()]
        assert back == known.tolist()
    given_sizes = given_[0, factors.which[factors.which >= 0]]
    exact = np.abs(given_sizes) < 131_072
    assert np.array_equal(np.round(given_sizes, 2)[exact], factors.dollars[factors.which >= 0][exact])


def test_more_words_than_a_byte_tells_apart_are_refused() -> None:
    columns = columns_of([{"category": "Low", "news2": None, "risk_factors": [], "pairs": []}])
    many = TextLists(tuple(map(str, range(257))), np.empty(0, np.int64), np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="hccs: 257 words of models a, b\\+c, a score row tells 256 apart"):
        Words.of(columns | {"hccs": many})
