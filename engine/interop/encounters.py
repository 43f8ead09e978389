"""The synthetic population's dealings with care: claims, fills, laboratory panels and questionnaires of a
month.

Who has a claim, and for how much, follows the members' expected annual cost: claims fall on a member in
proportion to its square root, and their amounts are such that a member's expected spending is what the
population says. What is wrong with a member is what the claim is for: its diagnoses are codes of the
member's own conditions, or everyday complaints.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TypeVar

import numpy as np
from scipy.special import ndtr, ndtri

from engine.domain.events import CLAIM, CONDITIONS, LAB, PHARMACY, SCHEMA_VERSION, SELF_REPORT, SourceEvent
from engine.domain.metrics import LAB_TESTS, METRIC_INDEX
from engine.domain.population import Floats, Ints, Population, uniforms
from engine.interop.shape import MS_PER_DAY, day_ms, day_of

T = TypeVar("T")

SOURCE = "synthetic"
DRUG_SHARE = 0.22
"""Share of annual cost that is drugs: MEPS 2012 and 2013."""

CODES: dict[str, tuple[str, ...]] = {
    "hypertension": ("I10", "I119", "I129"),
    "coronary_heart_disease": ("I2510", "I259"),
    "angina": ("I209", "I2089"),
    "heart_attack": ("I252", "I214"),
    "other_heart_disease": ("I4891", "I509", "I340"),
    "stroke": ("I639", "I69351", "G459"),
    "emphysema": ("J439", "J432"),
    "chronic_bronchitis": ("J449", "J441", "J42"),
    "high_cholesterol": ("E785", "E7800", "E782"),
    "cancer": ("C189", "C3490", "C439"),
    "diabetes": ("E119", "E1165", "E1122"),
    "joint_pain": ("M25561", "M25512"),
    "arthritis": ("M1990", "M1711", "M069"),
    "asthma": ("J45909", "J4520", "J4540"),
}
"""ICD-10-CM codes with which a condition shows on a claim."""
EVERYDAY: tuple[str, ...] = (
    *("Z0000", "Z23", "J069", "R059", "M5450", "N390", "R0789", "K219", "F411", "R5383", "L309", "H5213"),
)
"""Codes that name none of the conditions: examinations, colds, complaints."""


@dataclass(frozen=True, slots=True)
class Place:
    """How a claim of one kind of care is filled in."""

    category: str
    claim_type: str
    place_of_service: str | None
    bill_type: str | None
    revenue_center: str | None
    procedures: tuple[str, ...]


PLACES: tuple[Place, ...] = (
    Place("office", "professional", "11", None, None, ("99213", "99214", "G0439")),
    Place("other", "professional", "81", None, None, ("80053", "83036", "80061")),
    Place("outpatient", "institutional", None, "131", "0510", ("G0463",)),
    Place("home_health", "institutional", None, "329", "0551", ("G0299",)),
    Place("emergency", "institutional", None, "131", "0450", ("99284", "99285")),
    Place("inpatient", "institutional", None, "111", "0120", ()),
)
# Share of each place by size of the allowed amount: under $500, $3,000, $10,000 and above
_AMOUNTS = (50_000, 300_000, 1_000_000)
_MIX = np.array(
    [
        [0.70, 0.12, 0.13, 0.02, 0.03, 0.00],
        [0.35, 0.05, 0.35, 0.05, 0.20, 0.00],
        [0.00, 0.00, 0.50, 0.00, 0.25, 0.25],
        [0.00, 0.00, 0.25, 0.00, 0.00, 0.75],
    ]
)
_SECONDARY = 0.4  # chance that a claim also names another condition of the member
_REPORTED = 0.9  # chance that a member names a condition
# Self-rated health, 1 excellent to 5 poor: weighted MEPS 2012 and 2013
_RATINGS = np.cumsum([0.323, 0.325, 0.247, 0.080])


@dataclass(frozen=True, slots=True)
class _Deal:
    """One encounter to come: its kind and number, and the uniforms drawn for it, some by condition."""

    kind: str
    number: int
    member: int
    time: int
    cents: int
    u: Floats
    of_condition: Floats


@dataclass(frozen=True, slots=True)
class Plan:
    """The encounters of a month by day and time; their events are made when the day comes."""

    population: Population
    start: date
    members: list[str]
    of_day: list[list[_Deal]]

    def events(self, number: int) -> Iterator[SourceEvent]:
        """Events of day `number`, by time."""
        for deal in self.of_day[number]:
            yield from _MAKE[deal.kind](self, deal)


def draw(population: Population, start: date, days: int, counts: dict[str, int]) -> Plan:
    """Shares `counts` of claims, fills, labs and self_reports out over members and days."""
    of_day: list[list[_Deal]] = [[] for _ in range(days)]
    for kind, count in counts.items():
        for deal in _deals(population, start, days, kind, count):
            of_day[(deal.time - day_ms(start)) // MS_PER_DAY].append(deal)
    for deals in of_day:
        deals.sort(key=lambda deal: deal.time)
    return Plan(population, start, population.member_id.tolist(), of_day)


def _deals(population: Population, start: date, days: int, kind: str, count: int) -> Iterator[_Deal]:
    """`count` encounters of a kind; the first ones of a larger count are those of a smaller."""
    seed = population.seed
    weight = np.ones(len(population))
    dear = kind in ("claims", "fills")
    if dear and population.annual_cost_cents.any():
        weight = np.sqrt(population.annual_cost_cents)
    u = uniforms(seed, f"{kind} {start}", count, 12)
    of_condition = uniforms(seed, f"{kind} conditions {start}", count, len(CONDITIONS))
    share = np.cumsum(weight)
    member = np.searchsorted(share, u[:, 0] * share[-1:], side="right") if count else np.zeros(0, dtype=np.int64)
    # between 8 and 18 o'clock
    times = day_ms(start) + (u[:, 1] * days).astype(np.int64) * MS_PER_DAY
    times += ((8 + 10 * u[:, 2]) * 3_600_000).astype(np.int64)
    cents = (
        _amounts(population, kind, days, count, member, weight, u[:, 3]) if dear else np.zeros(count, dtype=np.int64)
    )
    draws = zip(member.tolist(), times.tolist(), cents.tolist(), strict=True)
    for number, (i, time, amount) in enumerate(draws):
        yield _Deal(kind, number, i, time, amount, u[number, 4:], of_condition[number])


def _amounts(population: Population, kind: str, days: int, count: int, member: Ints, weight: Floats, u: Floats) -> Ints:
    """Allowed amounts: lognormal (sigma 1) about the member's expected spending an expected claim."""
    spending = population.annual_cost_cents * (DRUG_SHARE if kind == "fills" else 1 - DRUG_SHARE) * days / 365.2425
    expected = count * weight / weight.sum()
    mean = spending[member] / expected[member]
    cents: Ints = np.rint(mean * np.exp(ndtri(u) - 0.5)).astype(np.int64)
    return cents


def _envelope(plan: Plan, deal: _Deal, event_id: str) -> dict[str, object]:
    return {
        "v": SCHEMA_VERSION,
        "event_id": event_id,
        "source": SOURCE,
        "member_id": plan.members[deal.member],
        "time": deal.time,
    }


def _own(plan: Plan, deal: _Deal) -> list[int]:
    own: list[int] = np.flatnonzero(plan.population.conditions[deal.member]).tolist()
    return own


def _one(of: Sequence[T], u: float) -> T:
    return of[min(int(u * len(of)), len(of) - 1)]


def _claim(plan: Plan, deal: _Deal) -> Iterator[SourceEvent]:
    u: list[float] = deal.u.tolist()
    size = int(np.searchsorted(_AMOUNTS, deal.cents, side="right"))
    place = PLACES[min(int(np.searchsorted(np.cumsum(_MIX[size]), u[0], side="right")), len(PLACES) - 1)]
    own = _own(plan, deal)
    if own and u[1] < 0.75:
        principal = _one(own, u[2])
        diagnoses = [_one(CODES[CONDITIONS[principal]], u[3])]
        diagnoses += [
            _one(CODES[CONDITIONS[c]], deal.of_condition[c] / _SECONDARY)
            for c in own
            if c != principal and deal.of_condition[c] < _SECONDARY
        ]
    else:
        diagnoses = [_one(EVERYDAY, u[2])]
    day = day_of(deal.time).isoformat()
    claim_id = f"C{plan.start:%Y%m%d}-{deal.number}"
    yield SourceEvent(
        CLAIM,
        _envelope(plan, deal, claim_id)
        | {
            "claim_id": claim_id,
            "line": 1,
            "claim_type": place.claim_type,
            "service_date": day,
            "diagnoses": diagnoses,
            "procedure": _one(place.procedures, u[5]) if place.procedures else None,
            "place_of_service": place.place_of_service,
            "bill_type": place.bill_type,
            "revenue_center": place.revenue_center,
            "provider_id": None,
            "charge_cents": round(deal.cents * (1.3 + 2.2 * u[6])),
            "allowed_cents": deal.cents,
            "paid_cents": round(deal.cents * (0.75 + 0.25 * u[7])),
        },
    )


def _fill(plan: Plan, deal: _Deal) -> Iterator[SourceEvent]:
    u: list[float] = deal.u.tolist()
    own = _own(plan, deal)
    product = _one(own, u[0]) + 1 if own else 0
    supply = 90 if u[1] < 0.3 else 30
    claim_id = f"F{plan.start:%Y%m%d}-{deal.number}"
    yield SourceEvent(
        PHARMACY,
        _envelope(plan, deal, claim_id)
        | {
            "claim_id": claim_id,
            "line": 1,
            "ndc": f"99999{product:04d}01",  # no labeler has 99999: not a drug, one product a condition
            "fill_date": day_of(deal.time).isoformat(),
            "quantity": float(supply * (1 + int(u[2] * 2))),
            "days_supply": supply,
            "allowed_cents": deal.cents,
            "paid_cents": round(deal.cents * (0.6 + 0.4 * u[3])),
        },
    )


def _panel(plan: Plan, deal: _Deal) -> Iterator[SourceEvent]:
    values = _results(plan, deal)
    for test in (test for test in LAB_TESTS if test.code in values):
        yield SourceEvent(
            LAB,
            _envelope(plan, deal, f"L{plan.start:%Y%m%d}-{deal.number}-{test.code}")
            | {
                "test": test.code,
                "value": round(min(max(values[test.code], test.low), test.high), 2),
                "unit": test.unit,
            },
        )


def _results(plan: Plan, deal: _Deal) -> dict[str, float]:
    """The results of a yearly panel; total cholesterol is that of its parts (Friedewald)."""
    population, i = plan.population, deal.member
    z: list[float] = ndtri(deal.u).tolist()
    has = dict(zip(CONDITIONS, population.conditions[i].tolist(), strict=True))
    of_metric = dict(zip(METRIC_INDEX, population.baseline[i].tolist(), strict=True))
    a1c = 7.3 + 1.2 * z[0] if has["diabetes"] else 5.4 + 0.35 * z[0]
    ldl = (136 if has["high_cholesterol"] else 112) + 28 * z[2]
    hdl = (56.0 if population.sex[i] == 0 else 47.0) * float(np.exp(0.22 * z[3]))
    triglycerides = 115.0 * float(np.exp(0.45 * z[4]))
    adult = of_metric["weight"] / (1.613 if population.sex[i] == 0 else 1.753) ** 2
    child = population.birth_date[i] > np.datetime64(plan.start, "D") - np.timedelta64(6575, "D")
    return {
        "hba1c": a1c,
        "fasting_glucose": 28.7 * a1c - 46.7 - (0 if has["diabetes"] else 8) + 8 * z[1],
        "total_cholesterol": ldl + hdl + triglycerides / 5,
        "ldl_cholesterol": ldl,
        "hdl_cholesterol": hdl,
        "triglycerides": triglycerides,
        "creatinine": (0.75 if population.sex[i] == 0 else 0.95) * float(np.exp(0.2 * z[5])),
        "systolic_bp": of_metric["systolic_bp"] + 8 * z[6],
        "diastolic_bp": of_metric["diastolic_bp"] + 5 * z[7],
        "bmi": 17.0 + 2.5 * abs(z[5]) if child else adult,
    }


def _report(plan: Plan, deal: _Deal) -> Iterator[SourceEvent]:
    """Answers that follow the latent health; each of the three scales is left out one time in ten."""
    u: list[float] = deal.u.tolist()
    sick = float(plan.population.health[deal.member])
    rank = ndtr(0.7 * sick + 0.714 * ndtri(u[0]))
    mind = ndtr(0.4 * sick + 0.917 * ndtri(u[1]))
    stress = min(int(11 * ndtr(0.3 * sick + 0.954 * ndtri(u[2]))), 10)
    named = [CONDITIONS[c] for c in _own(plan, deal) if deal.of_condition[c] < _REPORTED]
    yield SourceEvent(
        SELF_REPORT,
        _envelope(plan, deal, f"S{plan.start:%Y%m%d}-{deal.number}")
        | {
            "general_health": None if u[3] < 0.1 else 1 + int(np.searchsorted(_RATINGS, rank, side="right")),
            "mental_health": None if u[4] < 0.1 else 1 + int(np.searchsorted(_RATINGS, mind, side="right")),
            "stress": None if u[5] < 0.1 else stress,
            "conditions": named,
        },
    )


_MAKE = {"claims": _claim, "fills": _fill, "labs": _panel, "self_reports": _report}
