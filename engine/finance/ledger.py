"""The ledger's values: accounts, journals that balance, their mirror images, and the closed month's digest.

A journal is a business fact and its lines in whole cents, debits positive, that sum to zero. Its key says the fact,
such as 2026-11/reward/M123: the same key with the same content is the same journal, with other content an error.
Nothing is changed or deleted: a journal is taken back by its mirror image in the open period. Members stand in it as
pseudonyms.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import msgspec

from engine.domain.events import LINES_OF_BUSINESS, STATES
from engine.finance.money import FinanceError, dollars_of

PERIOD = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
_KEY = re.compile(r"[!-~]{1,200}")
_MOST = 10**15
CURRENCY = "USD"


@dataclass(frozen=True, slots=True)
class Account:
    """An account: its code, name, and the lines of the P&L (or balance sheet) and of the MLR form that it adds to.

    The code's first digit is the kind: 1 assets, 2 liabilities, 3 surplus, 4 premium, 5 claims, 6 expenses, 9 memo.
    """

    code: str
    name: str
    statement: str
    mlr: str = ""

    @property
    def kind(self) -> str:
        """Kind by the first digit."""
        return KINDS[self.code[0]]


KINDS: Mapping[str, str] = {
    "1": "assets",
    "2": "liabilities",
    "3": "surplus",
    "4": "premium",
    "5": "claims",
    "6": "expenses",
    "9": "memo",
}
ACCOUNTS: tuple[Account, ...] = (
    Account("1000", "Cash", "cash"),
    Account("1100", "Premiums receivable", "receivables"),
    Account("1200", "Risk adjustment receivable", "receivables"),
    Account("1300", "Reinsurance recoverable", "receivables"),
    Account("2000", "Claims payable", "claims payable"),
    Account("2100", "Incurred but not reported claims", "claim reserves"),
    Account("2200", "Unearned premium", "unearned premium"),
    Account("2300", "Premium deficiency reserve", "premium deficiency"),
    Account("2400", "MLR rebate payable", "rebates payable"),
    Account("2500", "Member rewards payable", "rewards payable"),
    Account("2600", "Risk adjustment payable", "risk adjustment payable"),
    Account("2700", "Premiums received in advance", "unearned premium"),
    Account("3000", "Surplus", "surplus"),
    Account("4000", "Premium earned", "premium", "premium earned"),
    Account("4100", "Risk adjustment transfer", "risk adjustment", "risk adjustment transfer"),
    Account("4200", "MLR rebates", "rebates", "rebates"),
    Account("5000", "Claims incurred", "claims", "incurred claims"),
    Account("5100", "Claims of prior years", "prior-year development", "incurred claims"),
    Account("5200", "Change in incurred but not reported claims", "claims", "change in reserves"),
    Account("5300", "Change in premium deficiency", "premium deficiency"),
    Account("5400", "Member rewards", "rewards", "quality improvement"),
    Account("6000", "Administration", "administration"),
    Account("6100", "Prevention programmes", "quality improvement", "quality improvement"),
    Account("6200", "Taxes and fees", "taxes", "taxes and fees"),
    Account("9000", "Savings measured", "memo"),
    Account("9100", "Savings measured, contra", "memo"),
)
CHART: Mapping[str, Account] = {account.code: account for account in ACCOUNTS}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a journal: cents to an account, debits positive, and what they are of; all but the account optional.

    `member` is a pseudonym, `incurral_month` YYYY-MM.
    """

    account: str
    cents: int
    line_of_business: str = ""
    state: str = ""
    product: str = ""
    cohort: str = ""
    member: str = ""
    programme: str = ""
    incurral_month: str = ""

    def __post_init__(self) -> None:
        if self.account not in CHART:
            raise FinanceError("account", f"account {self.account!r} is not in the chart of accounts")
        if type(self.cents) is not int or not 0 < abs(self.cents) <= _MOST:
            raise FinanceError("cents", f"account {self.account}: {self.cents!r} is no amount of whole cents but zero")
        if self.line_of_business and self.line_of_business not in LINES_OF_BUSINESS:
            raise FinanceError("line_of_business", f"line_of_business {self.line_of_business!r} is not known")
        if self.state and self.state not in STATES:
            raise FinanceError("state", f"state {self.state!r} is no postal code")
        if self.incurral_month and not PERIOD.fullmatch(self.incurral_month):
            raise FinanceError("incurral_month", f"incurral_month {self.incurral_month!r} is not YYYY-MM")


DIMENSIONS: tuple[str, ...] = tuple(name for name in Line.__slots__ if name not in ("account", "cents"))


@dataclass(frozen=True, slots=True)
class Journal:
    """A balanced journal. `effective` is the day of the fact, `period` the month it is booked in (YYYY-MM).

    `cause` says in words why; `prepared_by` who or what made it. `reverses` is the key of the journal whose mirror
    image this is.
    """

    key: str
    period: str
    effective: date
    cause: str
    prepared_by: str
    lines: tuple[Line, ...] = field(default=())
    approved_by: str = ""
    reverses: str = ""

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            raise FinanceError("key", f"key {self.key!r} must be 1 to 200 printable characters without spaces")
        if not PERIOD.fullmatch(self.period):
            raise FinanceError("period", f"journal {self.key}: period {self.period!r} is not YYYY-MM")
        if self.effective.strftime("%Y-%m") > self.period:
            raise FinanceError(
                "effective", f"journal {self.key}: {self.effective} lies behind its period {self.period}"
            )
        if not self.cause or not self.prepared_by:
            raise FinanceError("cause", f"journal {self.key}: cause and prepared_by must say why and who")
        if self.approved_by and self.approved_by == self.prepared_by:
            raise FinanceError(
                "approved_by", f"journal {self.key}: {self.approved_by} cannot approve what they prepared"
            )
        if len(self.lines) < 2:
            raise FinanceError("lines", f"journal {self.key} has {len(self.lines)} lines: at least two make a balance")
        total = sum(line.cents for line in self.lines)
        if total:
            raise FinanceError("lines", f"journal {self.key} does not balance: its lines sum to {total} cents")
        memo = {line.account[0] == "9" for line in self.lines}
        if len(memo) > 1:
            raise FinanceError("lines", f"journal {self.key} mixes memo accounts with others")

    def digest(self) -> bytes:
        """SHA-256 of what the journal says; who approved it is not part of the fact."""
        said = (self.key, self.period, self.effective, self.cause, self.prepared_by, self.reverses)
        return hashlib.sha256(_encode([said, [_fields(line) for line in self.lines]])).digest()

    def reversed(self, key: str, period: str, effective: date, cause: str, prepared_by: str) -> "Journal":
        """The mirror image, in the period that is open by now."""
        lines = tuple(replace(line, cents=-line.cents) for line in self.lines)
        return Journal(key, period, effective, cause, prepared_by, lines, reverses=self.key)


_encode = msgspec.json.Encoder().encode


def _fields(line: Line) -> list[str | int]:
    return [line.account, line.cents, *(getattr(line, name) for name in DIMENSIONS)]


@dataclass(frozen=True, slots=True)
class Balance:
    """What stands on an account in a market at a month's end, cents."""

    account: str
    line_of_business: str
    state: str
    cents: int


def canonical(period: str, balances: Iterable[Balance]) -> bytes:
    """A month's trial balance in its one spelling: rows by account, line of business and state, none of them zero.

    Raises FinanceError where it does not sum to zero, of memo accounts and of all others.
    """
    rows = sorted((b.account, b.line_of_business, b.state, b.cents) for b in balances if b.cents)
    for memo in (False, True):
        total = sum(cents for account, _, _, cents in rows if (account[0] == "9") == memo)
        if total:
            raise FinanceError("balance", f"the trial balance of {period} sums to {total} cents")
    return _encode([period, CURRENCY, rows])


def close_digest(previous: bytes, period: str, balances: Iterable[Balance], journals: int) -> bytes:
    """The digest of a closed month: SHA-256 over that of the month before, the trial balance and how many journals.

    Whoever holds a later digest can tell whether an earlier month was changed.
    """
    return hashlib.sha256(previous + canonical(period, balances) + b"/%d" % journals).digest()


def next_period(period: str) -> str:
    """The month after."""
    year, month = int(period[:4]), int(period[5:])
    return f"{year + month // 12:04d}-{month % 12 + 1:02d}"


def to_hledger(journals: Sequence[tuple[int, Journal]]) -> str:
    """Journals, each with its number, in the plain-text form of hledger, for `hledger check` by an outsider."""
    out = []
    for number, journal in journals:
        out.append(f"{journal.effective} ({number}) {journal.key} ; {journal.cause.replace(';', ',')}")
        out += [f"    {_named(line.account)}  {CURRENCY} {dollars_of(line.cents)}" for line in journal.lines]
        out.append("")
    return "\n".join(out)


def to_beancount(journals: Sequence[tuple[int, Journal]]) -> str:
    """Journals, each with its number, in the plain-text form of beancount, accounts opened first."""
    used = sorted({line.account for _, journal in journals for line in journal.lines})
    first = min((journal.effective for _, journal in journals), default=date(1970, 1, 1))
    out = ['option "operating_currency" "USD"']
    out += [f"{first} open {_named(code)} {CURRENCY}" for code in used]
    for number, journal in journals:
        out += ["", f'{journal.effective} * "{_quoted(journal.key)}" "{_quoted(journal.cause)}" ^j{number}']
        out += [f"  {_named(line.account)}  {dollars_of(line.cents)} {CURRENCY}" for line in journal.lines]
    return "\n".join(out) + "\n"


_ROOTS: Mapping[str, str] = {
    "assets": "Assets",
    "liabilities": "Liabilities",
    "surplus": "Equity",
    "premium": "Income",
    "claims": "Expenses",
    "expenses": "Expenses",
    "memo": "Equity:Memo",
}


def _named(code: str) -> str:
    """The account as plain-text accounting names it, such as Liabilities:A2100."""
    return f"{_ROOTS[CHART[code].kind]}:A{code}"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
