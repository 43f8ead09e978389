"""The ledger in PostgreSQL. Its rules are the tables' own (migration 0008); what they refuse is told in our words."""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from engine.errors import StorageError
from engine.finance.ledger import ACCOUNTS, DIMENSIONS, Balance, Journal, Line, close_digest, next_period
from engine.finance.money import FinanceError

_LINE = ("account", "cents", *DIMENSIONS)
_STAGE = """
    CREATE TEMPORARY TABLE staged (place integer, key text, digest bytea, period text, effective date, cause text,
        prepared_by text, approved_by text, reverses text, lines integer) ON COMMIT DROP;
    CREATE TEMPORARY TABLE staged_lines (place integer, line integer, account text, cents bigint,
        line_of_business text, state text, product text, cohort text, member text, programme text,
        incurral_month text) ON COMMIT DROP
"""
_OTHER_CONTENT = """
    SELECT s.key FROM staged s JOIN ledger_journals j USING (key) WHERE j.digest <> s.digest
    UNION ALL SELECT key FROM staged GROUP BY key HAVING count(DISTINCT digest) > 1 LIMIT 1
"""
_UNKNOWN = """
    SELECT s.key, s.reverses FROM staged s LEFT JOIN ledger_journals j ON j.key = s.reverses
    WHERE s.reverses IS NOT NULL AND j.journal_id IS NULL LIMIT 1
"""
_POST = """
    WITH posted AS (
        INSERT INTO ledger_journals (key, digest, period, effective, cause, prepared_by, approved_by, reverses, lines)
        SELECT DISTINCT ON (s.key) s.key, s.digest, s.period, s.effective, s.cause, s.prepared_by, s.approved_by,
            j.journal_id, s.lines
        FROM staged s LEFT JOIN ledger_journals j ON j.key = s.reverses ORDER BY s.key, s.place
        ON CONFLICT (key) DO NOTHING RETURNING journal_id, key
    )
    SELECT posted.journal_id, min(s.place) FROM posted JOIN staged s USING (key) GROUP BY posted.journal_id
"""
_BALANCES = """
    SELECT account, line_of_business, state, sum(cents)::bigint FROM (
        SELECT account, line_of_business, state, cents FROM ledger_balances WHERE period = %(base)s
        UNION ALL
        SELECT l.account, l.line_of_business, l.state, sum(l.cents)::bigint
        FROM ledger_lines l JOIN ledger_journals j USING (journal_id)
        WHERE j.period > %(base)s AND j.period <= %(period)s GROUP BY 1, 2, 3
    ) AS both_parts GROUP BY 1, 2, 3 HAVING sum(cents) <> 0 ORDER BY 1, 2, 3
"""


class LedgerStore:
    """Posts, closes and reads. Raises StorageError where PostgreSQL is away, FinanceError for what the rules refuse."""

    def __init__(self, url: str) -> None:
        self._url = url
        with self._transaction() as cursor:
            cursor.executemany(
                "INSERT INTO ledger_accounts (account, name) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                [(account.code, account.name) for account in ACCOUNTS],
            )

    def open_period(self, period: str) -> None:
        """Opens a month: the first of all, or the one after the latest. One that is open already stays so."""
        with self._transaction() as cursor:
            row = cursor.execute("SELECT state FROM ledger_periods WHERE period = %s", (period,)).fetchone()
            if row is None:
                cursor.execute("INSERT INTO ledger_periods (period) VALUES (%s) ON CONFLICT DO NOTHING", (period,))
            elif row[0] != "open":
                raise FinanceError("period", f"period {period} is closed: only the latest can be reopened")

    def open_periods(self) -> list[str]:
        """The months that are open, the earliest first."""
        with self._transaction() as cursor:
            rows = cursor.execute("SELECT period FROM ledger_periods WHERE state = 'open' ORDER BY period").fetchall()
        return [row[0] for row in rows]

    def post(self, journals: Sequence[Journal]) -> int:
        """Posts all of them or none; returns how many are new.

        A journal that is there already is left as it is. Raises FinanceError for a key with other content, a reversal
        of what is not there, and whatever the ledger's rules refuse.
        """
        if not journals:
            return 0
        with self._transaction() as cursor:
            return _post(cursor, journals)

    def journal(self, key: str) -> Journal | None:
        """The journal of a key; None where there is none."""
        found = list(self._read("j.key = %s", (key,)))
        return found[0][1] if found else None

    def journals(self, period: str) -> Iterator[tuple[int, Journal]]:
        """The journals of a month with their numbers, in order of posting."""
        return self._read("j.period = %s", (period,))

    def trial_balance(self, period: str) -> list[Balance]:
        """What stands on each account by line of business and state at the end of a month: the latest balances kept
        from a close before it, and the journals since."""
        with self._transaction() as cursor:
            return _balances(cursor, period)

    def close(self, period: str, prepared_by: str, approved_by: str) -> bytes:
        """Closes a month with two signatures; returns the digest of its trial balance, chained to the month before.

        The next month is opened with it. Raises FinanceError where the month is not open, or one before it is.
        """
        if not prepared_by or not approved_by or prepared_by == approved_by:
            raise FinanceError("approved_by", f"closing {period} takes two people: {prepared_by!r} and {approved_by!r}")
        with self._transaction() as cursor:
            row = cursor.execute("SELECT state FROM ledger_periods WHERE period = %s FOR UPDATE", (period,)).fetchone()
            if row is None or row[0] != "open":
                raise FinanceError("period", f"period {period} is {'not there' if row is None else 'closed already'}")
            balances = _balances(cursor, period)
            counted = cursor.execute("SELECT count(*) FROM ledger_journals WHERE period = %s", (period,)).fetchone()
            before = cursor.execute(
                "SELECT digest FROM ledger_periods WHERE period < %s ORDER BY period DESC LIMIT 1", (period,)
            ).fetchone()
            assert counted is not None
            digest = close_digest(b"" if before is None else bytes(before[0] or b""), period, balances, counted[0])
            cursor.execute("DELETE FROM ledger_balances WHERE period = %s", (period,))
            cursor.executemany(
                "INSERT INTO ledger_balances VALUES (%s, %s, %s, %s, %s)",
                [(period, b.account, b.line_of_business, b.state, b.cents) for b in balances],
            )
            cursor.execute(
                "UPDATE ledger_periods SET state = 'closed', closed_at = now(), journals = %s, digest = %s, "
                "prepared_by = %s, approved_by = %s WHERE period = %s",
                (counted[0], digest, prepared_by, approved_by, period),
            )
            cursor.execute(
                "INSERT INTO ledger_periods (period) SELECT %(next)s "
                "WHERE NOT EXISTS (SELECT FROM ledger_periods WHERE period = %(next)s)",
                {"next": next_period(period)},
            )
        return digest

    def reopen(self, period: str) -> None:
        """Opens the latest closed month again; its digest goes with it. Raises FinanceError for any other."""
        with self._transaction() as cursor:
            row = cursor.execute("SELECT state FROM ledger_periods WHERE period = %s FOR UPDATE", (period,)).fetchone()
            if row is None or row[0] != "closed":
                raise FinanceError("period", f"period {period} is not closed")
            cursor.execute(
                "UPDATE ledger_periods SET state = 'open', closed_at = NULL, journals = NULL, digest = NULL, "
                "prepared_by = NULL, approved_by = NULL WHERE period = %s",
                (period,),
            )
            cursor.execute("DELETE FROM ledger_balances WHERE period = %s", (period,))

    def verify(self) -> list[str]:
        """The closed months whose digest is not that of their balances, of how many journals they have by now, and of
        the month before, the earliest first."""
        wrong, previous = [], b""
        with self._transaction() as cursor:
            rows = cursor.execute(
                "SELECT p.period, p.digest, (SELECT count(*) FROM ledger_journals j WHERE j.period = p.period) "
                "FROM ledger_periods p WHERE p.state = 'closed' ORDER BY p.period"
            ).fetchall()
            for period, digest, journals in rows:
                if close_digest(previous, period, _balances(cursor, period, base=""), journals) != bytes(digest):
                    wrong.append(period)
                previous = bytes(digest)
        return wrong

    @contextmanager
    def _transaction(self) -> Iterator[psycopg.Cursor[TupleRow]]:
        try:
            with psycopg.connect(self._url, connect_timeout=5) as connection, connection.cursor() as cursor:
                yield cursor
        except psycopg.OperationalError as error:
            raise StorageError(f"PostgreSQL does not answer: {error}") from error
        except psycopg.IntegrityError as error:
            raise FinanceError("ledger", _told(error)) from error

    def _read(self, where: str, parameters: tuple[Any, ...]) -> Iterator[tuple[int, Journal]]:
        query = sql.SQL(
            "SELECT j.journal_id, j.key, j.period, j.effective, j.cause, j.prepared_by, j.approved_by, r.key, {} "
            "FROM ledger_journals j JOIN ledger_lines l USING (journal_id) "
            "LEFT JOIN ledger_journals r ON r.journal_id = j.reverses WHERE "
        ).format(sql.SQL(", ").join(sql.SQL("l.{}").format(sql.Identifier(name)) for name in _LINE))
        with self._transaction() as cursor:
            found = cursor.execute(
                query + sql.SQL(where) + sql.SQL(" ORDER BY j.journal_id, l.line"),
                parameters,
            )
            yield from _journals(found)


def _told(error: psycopg.IntegrityError) -> str:
    """What a rule of the tables has refused."""
    if error.diag.constraint_name == "ledger_journals_reverses_key":
        return "a journal is reversed once, and this one has been: post a new journal instead"
    return (error.diag.message_primary or str(error)).removeprefix("ledger: ")


def _journals(rows: Iterable[TupleRow]) -> Iterator[tuple[int, Journal]]:
    """Journals with their numbers, of rows of their lines that come journal by journal."""
    head: TupleRow | None = None
    lines: list[Line] = []
    for row in rows:
        if head is not None and row[0] != head[0]:
            yield head[0], _journal(head, lines)
            lines = []
        head = row
        lines.append(Line(*row[8:]))
    if head is not None:
        yield head[0], _journal(head, lines)


def _journal(row: TupleRow, lines: list[Line]) -> Journal:
    _, key, period, effective, cause, prepared_by, approved_by, reverses = row[:8]
    return Journal(key, period, effective, cause, prepared_by, tuple(lines), approved_by or "", reverses or "")


def _post(cursor: psycopg.Cursor[TupleRow], journals: Sequence[Journal]) -> int:
    cursor.execute(_STAGE)
    with cursor.copy("COPY staged FROM STDIN") as copy:
        for place, journal in enumerate(journals):
            copy.write_row((place, *_head(journal)))
    with cursor.copy("COPY staged_lines FROM STDIN") as copy:
        for place, journal in enumerate(journals):
            for number, line in enumerate(journal.lines, 1):
                copy.write_row((place, number, *(getattr(line, name) for name in _LINE)))
    unknown = cursor.execute(_UNKNOWN).fetchone()
    if unknown is not None:
        raise FinanceError("reverses", f"journal {unknown[0]} reverses {unknown[1]}, which is not there")
    missing = cursor.execute(
        "SELECT s.period FROM staged s LEFT JOIN ledger_periods p USING (period) WHERE p.period IS NULL LIMIT 1"
    ).fetchone()
    if missing is not None:
        raise FinanceError("period", f"period {missing[0]} has not been opened")
    posted = cursor.execute(_POST).fetchall()
    # after it: of two who post one key at once the second has waited for the first by now
    other = cursor.execute(_OTHER_CONTENT).fetchone()
    if other is not None:
        raise FinanceError("key", f"key {other[0]} stands for a journal with other content")
    cursor.execute("CREATE TEMPORARY TABLE posted (journal_id bigint, place integer) ON COMMIT DROP")
    with cursor.copy("COPY posted FROM STDIN") as copy:
        for row in posted:
            copy.write_row(row)
    cursor.execute(
        sql.SQL(
            "INSERT INTO ledger_lines (journal_id, line, {columns}) SELECT p.journal_id, s.line, {columns} "
            "FROM posted p JOIN staged_lines s USING (place) ORDER BY 1, 2"
        ).format(columns=sql.SQL(", ").join(map(sql.Identifier, _LINE)))
    )
    return len(posted)


def _head(journal: Journal) -> tuple[str | bytes | dt.date | int | None, ...]:
    who = (journal.prepared_by, journal.approved_by or None)
    fact = (journal.key, journal.digest(), journal.period, journal.effective, journal.cause)
    return (*fact, *who, journal.reverses or None, len(journal.lines))


def _balances(cursor: psycopg.Cursor[TupleRow], period: str, base: str | None = None) -> list[Balance]:
    """The balances at a month's end, from those kept of the month `base` on; of the latest kept where it is None."""
    if base is None:
        row = cursor.execute("SELECT max(period) FROM ledger_balances WHERE period < %s", (period,)).fetchone()
        base = "" if row is None or row[0] is None else row[0]
    rows = cursor.execute(_BALANCES, {"base": base, "period": period}).fetchall()
    return [Balance(*row) for row in rows]
