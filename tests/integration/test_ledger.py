"""The ledger on PostgreSQL: what its tables refuse whoever asks, closes and signatures, books that outsiders read."""

import csv
import datetime as dt
import shutil
import subprocess
import threading
from collections import Counter
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from engine.finance.ledger import Journal, Line, next_period, to_beancount, to_hledger
from engine.finance.money import FinanceError, cents_of
from engine.storage.ledger import LedgerStore, _post

NOVEMBER = "2026-11"


def reward(member: str, cents: int = 2_500, period: str = NOVEMBER, day: int = 2) -> Journal:
    lines = (
        Line("5400", cents, "individual", "IL", programme="walking", member=member),
        Line("2500", -cents, "individual", "IL", programme="walking", member=member),
    )
    effective = dt.date(int(period[:4]), int(period[5:]), day)
    return Journal(f"{period}/reward/{member}", period, effective, "earned for walking", "cycle", lines)


def premium(period: str, cents: int) -> Journal:
    lines = (Line("1100", cents, "individual", "IL", product="silver-1"), Line("4000", -cents, "individual", "IL"))
    return Journal(f"{period}/premium/IL", period, dt.date.fromisoformat(f"{period}-01"), "billed", "cycle", lines)


@pytest.fixture
def store(database: str) -> LedgerStore:
    store = LedgerStore(database)
    store.open_period(NOVEMBER)
    return store


def test_a_journal_is_posted_once_whatever_is_tried(store: LedgerStore) -> None:
    one, two = reward("p1"), reward("p2", 1_000)
    assert store.post([one, two]) == 2 and store.post([two, one]) == 0
    with pytest.raises(FinanceError, match="key 2026-11/reward/p1 stands for a journal with other content"):
        store.post([reward("p3"), reward("p1", 9_999)])
    assert store.journal(reward("p3").key) is None, "all or nothing"
    assert store.journal(one.key) == one
    assert [(b.account, b.cents) for b in store.trial_balance(NOVEMBER)] == [("2500", -3_500), ("5400", 3_500)]
    with pytest.raises(FinanceError, match="other content"):
        store.post([reward("p4"), reward("p4", 1)])


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_lines SET cents = cents + 1",
        "UPDATE ledger_journals SET cause = 'other'",
        "DELETE FROM ledger_lines",
        "DELETE FROM ledger_journals",
        "TRUNCATE ledger_lines",
        "TRUNCATE ledger_journals CASCADE",
        "DELETE FROM ledger_periods",
        "UPDATE ledger_periods SET period = '2027-01'",
        "INSERT INTO ledger_periods (period) VALUES ('2027-02')",
        "INSERT INTO ledger_lines (journal_id, line, account, cents) "
        "SELECT journal_id, 3, '1000', 5 FROM ledger_journals",
        "INSERT INTO ledger_lines (journal_id, line, account, cents) "
        "SELECT journal_id, n, '1000', CASE n WHEN 3 THEN 5 ELSE -5 END FROM ledger_journals, generate_series(3, 4) n",
        "WITH j AS (INSERT INTO ledger_journals (key, digest, period, effective, cause, prepared_by, lines) "
        "VALUES ('k', '', '2026-11', '2026-11-01', 'c', 'x', 2) RETURNING journal_id) "
        "INSERT INTO ledger_lines (journal_id, line, account, cents) SELECT journal_id, n, '1000', n FROM j, "
        "generate_series(1, 2) n",
    ],
)
def test_the_tables_refuse_what_would_change_or_unbalance_them(
    store: LedgerStore, database: str, statement: str
) -> None:
    """Also of their owner, who is the user of these statements."""
    store.post([reward("p1")])
    with psycopg.connect(database) as connection, pytest.raises(psycopg.errors.IntegrityError):
        connection.execute(statement.encode())
    assert store.journal(reward("p1").key) == reward("p1")


def test_a_mistake_is_taken_back_once_and_by_its_mirror_image(store: LedgerStore, database: str) -> None:
    one = reward("p1")
    store.post([one])
    back = one.reversed("2026-11/reversal/p1", NOVEMBER, dt.date(2026, 11, 20), "not earned", "ann")
    assert store.post([back]) == 1 and store.post([back]) == 0
    assert store.trial_balance(NOVEMBER) == [] and store.journal(back.key) == back
    again = one.reversed("2026-11/again/p1", NOVEMBER, dt.date(2026, 11, 20), "not earned", "ann")
    with pytest.raises(FinanceError, match="reversed once, and this one has been"):
        store.post([again])
    with pytest.raises(FinanceError, match="reverses a reversal"):
        store.post([back.reversed("2026-11/back/p1", NOVEMBER, dt.date(2026, 11, 21), "earned", "ann")])
    other = reward("p2")
    store.post([other])
    wrong = Journal(
        "w", NOVEMBER, dt.date(2026, 11, 20), "c", "ann", reward("p2", 2_499).lines[::-1], reverses=other.key
    )
    with pytest.raises(FinanceError, match="journal w is not the mirror image"):
        store.post([wrong])
    part = reward("p2", 1).lines + reward("p2", 2_499).lines
    with pytest.raises(FinanceError, match="journal w is not the mirror image"):
        store.post([Journal("w", NOVEMBER, dt.date(2026, 11, 20), "c", "ann", part, reverses=other.key)])
    with pytest.raises(FinanceError, match="reverses nowhere, which is not there"):
        store.post([Journal("w", NOVEMBER, dt.date(2026, 11, 20), "c", "ann", one.lines, reverses="nowhere")])


def test_a_month_closes_with_two_signatures_and_takes_nothing_after(store: LedgerStore, database: str) -> None:
    store.post([premium(NOVEMBER, 1_000_000), reward("p1")])
    with pytest.raises(FinanceError, match="takes two people"):
        store.close(NOVEMBER, "ann", "ann")
    first = store.close(NOVEMBER, "ann", "ben")
    assert store.open_periods() == ["2026-12"]
    with pytest.raises(FinanceError, match="period 2026-11 is closed"):
        store.post([reward("p2")])
    with psycopg.connect(database) as connection, pytest.raises(psycopg.errors.IntegrityError, match="is closed"):
        connection.execute(
            "INSERT INTO ledger_journals (key, digest, period, effective, cause, prepared_by, lines) "
            "VALUES ('k', '', '2026-11', '2026-11-01', 'c', 'x', 2)"
        )
    with pytest.raises(FinanceError, match="period 2027-05 has not been opened"):
        store.post([premium("2027-05", 5)])
    store.post([premium("2026-12", 500_000), reward("p1", period="2026-12")])
    second = store.close("2026-12", "ann", "ben")
    assert store.verify() == [] and first != second
    assert [(b.account, b.cents) for b in store.trial_balance("2026-12")] == [
        ("1100", 1_500_000),
        ("2500", -5_000),
        ("4000", -1_500_000),
        ("5400", 5_000),
    ]
    with pytest.raises(FinanceError, match="period 2026-11 cannot reopen: a later one is closed"):
        store.reopen(NOVEMBER)
    store.reopen("2026-12")
    late = reward("p1", period=NOVEMBER).reversed("2026-12/late", "2026-12", dt.date(2026, 11, 30), "late", "ann")
    store.post([late])
    assert store.close("2026-12", "ann", "ben") != second and store.verify() == []


def test_who_changes_a_closed_month_in_spite_of_the_rules_is_found_out(store: LedgerStore, database: str) -> None:
    store.post([premium(NOVEMBER, 1_000_000)])
    store.close(NOVEMBER, "ann", "ben")
    store.post([premium("2026-12", 2_000_000)])
    store.close("2026-12", "ann", "ben")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ALTER TABLE ledger_lines DISABLE TRIGGER USER")
        connection.execute("UPDATE ledger_lines SET cents = cents * 2 WHERE journal_id = 1")
    assert store.verify() == [NOVEMBER, "2026-12"]


def test_a_journal_that_was_taken_out_with_its_reversal_is_missed(store: LedgerStore, database: str) -> None:
    """The balances are then the same; how many journals there were is not."""
    one = reward("p1")
    store.post([premium(NOVEMBER, 1_000_000), one])
    store.post([one.reversed("2026-11/back", NOVEMBER, dt.date(2026, 11, 9), "mistake", "ann")])
    store.close(NOVEMBER, "ann", "ben")
    assert store.verify() == []
    with psycopg.connect(database, autocommit=True) as connection:
        gone = "DELETE FROM {} WHERE journal_id IN (SELECT journal_id FROM ledger_journals WHERE key <> %s)"
        for table in ("ledger_lines", "ledger_journals"):
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
        connection.execute("ALTER TABLE ledger_journals DROP CONSTRAINT ledger_journals_reverses_fkey")
        for table in ("ledger_lines", "ledger_journals"):
            connection.execute(gone.format(table).encode(), (premium(NOVEMBER, 1).key,))
    assert store.verify() == [NOVEMBER]


def test_a_close_waits_for_who_is_posting_and_none_comes_after(store: LedgerStore, database: str) -> None:
    """The one who posts holds the month; the close counts what they post, or they are refused."""
    begun, closed = threading.Event(), []
    with psycopg.connect(database) as connection, connection.cursor() as cursor:
        _post(cursor, [reward("slow")])

        def close() -> None:
            begun.set()
            closed.append(LedgerStore(database).close(NOVEMBER, "ann", "ben"))

        thread = threading.Thread(target=close)
        thread.start()
        assert begun.wait(120)
        thread.join(0.5)
        assert thread.is_alive() and not closed, "the close has not waited"
    thread.join(120)
    assert closed and store.journal(reward("slow").key) is not None and store.verify() == []


def test_a_hand_at_the_database_cannot_close_a_month_that_is_being_posted_to(store: LedgerStore, database: str) -> None:
    """A foreign key alone would let it: it holds the month's key, and a close changes other columns."""
    with psycopg.connect(database) as connection, psycopg.connect(database) as other:
        _post(connection.cursor(), [reward("slow")])
        other.execute("SET lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute(
                "UPDATE ledger_periods SET state = 'closed', closed_at = now(), journals = 0, digest = '', "
                "prepared_by = 'a', approved_by = 'b'"
            )


def test_outsiders_read_the_books_and_find_the_same_balances(store: LedgerStore, tmp_path: Path) -> None:
    store.post([premium(NOVEMBER, 123_456_789), reward("p1", 477), reward("p2", 297)])
    back = reward("p2", 297).reversed("2026-11/back", NOVEMBER, dt.date(2026, 11, 9), 'a "wrong" one; twice', "ann")
    store.post([back])
    journals = list(store.journals(NOVEMBER))
    wanted: Counter[str] = Counter()
    for balance in store.trial_balance(NOVEMBER):
        wanted[balance.account] += balance.cents
    beancount = pytest.importorskip("beancount")
    from beancount import loader
    from beancount.core import data

    assert beancount
    entries, faults, _ = loader.load_string(to_beancount(journals))
    assert not faults
    found: Counter[str] = Counter()
    for entry in entries:
        for posting in entry.postings if isinstance(entry, data.Transaction) else ():
            found[posting.account.rpartition(":A")[2]] += int(posting.units.number * 100)
    assert {code: cents for code, cents in found.items() if cents} == dict(wanted)
    if not shutil.which("hledger"):
        pytest.skip("hledger is not installed")
    (tmp_path / "books.journal").write_text(to_hledger(journals))
    words = ["hledger", "-f", str(tmp_path / "books.journal")]
    subprocess.run([*words, "check", "balanced", "ordereddates"], check=True)
    told = subprocess.run([*words, "balance", "-N", "--flat", "-O", "csv"], capture_output=True, text=True, check=True)
    books = dict(list(csv.reader(told.stdout.splitlines()))[1:])
    assert {
        name.rpartition(":A")[2]: cents_of(amount.removeprefix("USD").strip()) for name, amount in books.items()
    } == (dict(wanted))


class Books(RuleBasedStateMachine):
    """Any order of posts, repeats, reversals, closes and reopenings against a dictionary."""

    database = ""

    def __init__(self) -> None:
        super().__init__()
        with psycopg.connect(self.database, autocommit=True) as connection:
            for table in ("lines", "journals", "balances", "periods"):
                connection.execute(f"ALTER TABLE ledger_{table} DISABLE TRIGGER USER".encode())
                connection.execute(f"DELETE FROM ledger_{table}".encode())
                connection.execute(f"ALTER TABLE ledger_{table} ENABLE TRIGGER USER".encode())
        self.store = LedgerStore(self.database)
        self.store.open_period("2026-01")
        self.open, self.closed = "2026-01", list[str]()
        self.posted: dict[str, Journal] = {}
        self.reversed: set[str] = set()

    @rule(member=st.integers(0, 5), cents=st.integers(1, 3))
    def earns(self, member: int, cents: int) -> None:
        journal = reward(f"p{member}", cents, self.open)
        known = self.posted.get(journal.key)
        if known is not None and known != journal:
            with pytest.raises(FinanceError, match="other content"):
                self.store.post([journal])
        else:
            assert self.store.post([journal, journal]) == (known is None)
            self.posted[journal.key] = journal

    @precondition(lambda self: self.posted)
    @rule(data=st.data())
    def takes_back(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.posted)))
        one = self.posted[key]
        day = dt.date.fromisoformat(f"{self.open}-28")
        back = one.reversed(f"{self.open}/back/{key}", self.open, day, "mistake", "ann")
        if back.key in self.posted:
            assert self.store.post([back]) == 0
        elif one.reverses or key in self.reversed:
            with pytest.raises(FinanceError):
                self.store.post([back])
        else:
            assert self.store.post([back]) == 1
            self.posted[back.key], self.reversed = back, self.reversed | {key}

    @rule()
    def closes(self) -> None:
        self.store.close(self.open, "ann", "ben")
        self.closed.append(self.open)
        self.open = next_period(self.open)

    @precondition(lambda self: self.closed)
    @rule()
    def posts_too_late(self) -> None:
        with pytest.raises(FinanceError, match="is closed"):
            self.store.post([reward("late", 1, self.closed[-1])])

    @precondition(lambda self: self.closed and not any(j.period == self.open for j in self.posted.values()))
    @rule()
    def reopens(self) -> None:
        self.store.reopen(self.closed[-1])
        self.store.close(self.closed[-1], "ann", "ben")

    @invariant()
    def balances(self) -> None:
        wanted: Counter[str] = Counter()
        for journal in self.posted.values():
            for line in journal.lines:
                wanted[line.account] += line.cents
        found = {balance.account: balance.cents for balance in self.store.trial_balance(self.open)}
        assert found == {account: cents for account, cents in wanted.items() if cents}
        assert self.store.verify() == []


def test_any_order_of_posts_reversals_and_closes_keeps_the_books(database: str) -> None:
    """A sample; more with `make prove`."""
    Books.database = database
    run_state_machine_as_test(Books, settings=settings(max_examples=12, stateful_step_count=12, deadline=None))
