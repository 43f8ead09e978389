"""Journals: what is none, what a digest holds, and the mirror image."""

import datetime as dt
from dataclasses import replace

import pytest

from engine.finance.ledger import ACCOUNTS, CHART, KINDS, Balance, Journal, Line, canonical, close_digest, next_period
from engine.finance.money import FinanceError

DAY = dt.date(2026, 11, 2)
LINES = (Line("5400", 2_500, "individual", "IL"), Line("2500", -2_500, "individual", "IL"))


def journal(**change: object) -> Journal:
    fields = {"key": "k", "period": "2026-11", "effective": DAY, "cause": "c", "prepared_by": "x", "lines": LINES}
    return Journal(**fields | change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"lines": (Line("5400", 1), Line("2500", -2))}, "lines"),
        ({"lines": (Line("5400", 1),)}, "lines"),
        ({"lines": (Line("9000", 5), Line("2500", -5))}, "lines"),
        ({"period": "2026-13"}, "period"),
        ({"effective": dt.date(2026, 12, 1)}, "effective"),
        ({"key": "a b"}, "key"),
        ({"cause": ""}, "cause"),
        ({"approved_by": "x"}, "approved_by"),
    ],
)
def test_what_is_no_journal_is_refused_by_field(change: dict, field: str) -> None:
    with pytest.raises(FinanceError) as refused:
        journal(**change)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (("7000", 1), "account"),
        (("1000", 0), "cents"),
        (("1000", 1.5), "cents"),
        (("1000", True), "cents"),
        (("1000", 1, "somewhere"), "line_of_business"),
        (("1000", 1, "individual", "ZZ"), "state"),
        (("1000", 1, "", "", "", "", "", "", "2026"), "incurral_month"),
    ],
)
def test_what_is_no_line_is_refused_by_field(line: tuple, field: str) -> None:
    with pytest.raises(FinanceError) as refused:
        Line(*line)
    assert refused.value.field == field


def test_a_digest_holds_all_that_a_journal_says() -> None:
    one = journal()
    others = [
        journal(key="k2"),
        journal(cause="d"),
        journal(effective=dt.date(2026, 11, 3)),
        journal(lines=LINES[::-1]),
        journal(lines=(replace(LINES[0], cohort="a"), LINES[1])),
        journal(lines=(replace(LINES[0], product="a"), LINES[1])),
        journal(reverses="z"),
    ]
    assert len({each.digest() for each in [one, *others]}) == 8
    assert journal(approved_by="y").digest() == one.digest() == journal().digest()


def test_the_mirror_image_undoes_line_by_line() -> None:
    back = journal().reversed("k-", "2026-12", dt.date(2026, 12, 1), "mistake", "y")
    assert [line.cents for line in back.lines] == [-2_500, 2_500] and back.reverses == "k"
    assert all(a.account == b.account and a.state == b.state for a, b in zip(back.lines, LINES, strict=True))


def test_a_trial_balance_has_one_spelling_and_sums_to_zero() -> None:
    rows = [Balance("1000", "", "", 5), Balance("2000", "", "", -5), Balance("3000", "", "", 0)]
    assert canonical("2026-11", rows) == canonical("2026-11", rows[:2][::-1])
    with pytest.raises(FinanceError, match="sums to 1 cents"):
        canonical("2026-11", [*rows, Balance("1000", "x", "", 1)])
    with pytest.raises(FinanceError, match="sums to -5 cents"):
        canonical("2026-11", [Balance("9000", "", "", 5), *rows[1:]])
    digests = {close_digest(before, "2026-11", rows, n) for before in (b"", b"x") for n in (1, 2)}
    assert len(digests) == 4


def test_the_chart_is_whole() -> None:
    assert len(CHART) == len(ACCOUNTS) and {account.kind for account in ACCOUNTS} == set(KINDS.values())
    assert [next_period(period) for period in ("2026-11", "2026-12")] == ["2026-12", "2027-01"]
