"""The HHS-HCC models of a benefit year as their tables say, checked.

HCCs are named by their number as text, such as 35_1, and numbered 0, 1, ... in ascending order; a set of them is three
uint64 words. Coefficients are thousandths in int64 [variables, METALS], so that scores are exact sums.
"""

import csv
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.domain.events import METALS
from engine.errors import HccError

MODELS: tuple[str, ...] = ("adult", "child", "infant")
"""By age on the last day of enrolment: 21 and over, 2 to 20, 0 and 1."""
ADULT, CHILD, INFANT = range(3)
BENEFIT_YEARS: tuple[int, ...] = (2021, 2022, 2023, 2024, 2025)
FIRST_AGES: tuple[int, ...] = (21, 2, 0)
MATURITIES: tuple[str, ...] = ("EXTREMELY_IMMATURE", "IMMATURE", "PREMATURE_MULTIPLES", "TERM")
"""From the least mature, which wins."""
AGE1 = "AGE1"
SEVERITIES = 5
RXCS = 10
LAST_DURATION = 12
_BANDS: dict[str, tuple[str, ...]] = {
    "adult": ("21_24", "25_29", "30_34", "35_39", "40_44", "45_49", "50_54", "55_59", "60_GT"),
    "child": ("2_4", "5_9", "10_14", "15_20"),
}
_LONG = 12
_OLDEST = 999
Ages = tuple[int, int]


@dataclass(frozen=True, slots=True)
class CodeRow:
    """One row of a code: where all its conditions hold, the diagnosis has these CCs.

    `valid` by fiscal year; the Medicare Code Editor's sexes (1 female, 0 male, -1 any) and ages at diagnosis, one for
    each period of the year or one for all; `age_last` and `sex` split a code by age on the last day of enrolment.
    """

    valid: tuple[bool, ...]
    mce_sex: tuple[int, ...]
    mce_age: tuple[Ages, ...]
    age_last: Ages
    sex: int
    ccs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Interaction:
    """A drug class with one of some HCCs, and where `and_one_of` is not empty with one of these too."""

    variable: str
    rxc: int
    one_of: tuple[str, ...]
    and_one_of: tuple[str, ...]


@dataclass(frozen=True)
class HhsModel:
    """The three models of one benefit year.

    `excluded`, `groups` and `sets` are by model; members of a set are HCCs, or groups such as G13. `drugs` gives the
    drug class of a kind (ndc, hcpcs) and code; `cost_sharing` metal and factor (hundredths) by indicator, of which
    `no_cost_sharing` says that there is none. `variables` (model, name) are the rows of `coefficients`.
    """

    benefit_year: int
    version: str
    first_fiscal_year: int
    duration_needs_hcc: bool
    severity: str
    uncounted: Mapping[str, tuple[str, ...]]
    rxc_drops: tuple[tuple[int, int], ...]
    hccs: tuple[str, ...]
    codes: Mapping[str, tuple[CodeRow, ...]]
    hierarchy: Mapping[str, tuple[str, ...]]
    labels: Mapping[str, str]
    excluded: Mapping[str, tuple[str, ...]]
    groups: Mapping[str, Mapping[str, tuple[str, ...]]]
    sets: Mapping[str, Mapping[str, tuple[str, ...]]]
    interactions: tuple[Interaction, ...]
    drugs: Mapping[tuple[str, str], int]
    services: frozenset[str]
    variables: tuple[tuple[str, str], ...]
    coefficients: NDArray[np.int64]
    cost_sharing: Mapping[int, tuple[str, int]]
    no_cost_sharing: int

    def label_of(self, variable: str) -> str:
        """CMS's label of a variable that is an HCC; empty for others."""
        return self.labels[_number(variable)] if variable.startswith("HHS_HCC") else ""


def variable_of(hcc: str) -> str:
    """The variable of an HCC: 35_1 is HHS_HCC035_1."""
    whole, _, part = hcc.partition("_")
    return f"HHS_HCC{int(whole):03d}" + (f"_{part}" if part else "")


def _number(variable: str) -> str:
    whole, _, part = variable.removeprefix("HHS_HCC").partition("_")
    return str(int(whole)) + (f"_{part}" if part else "")


def model_of(age_last: int) -> int:
    """Which of MODELS scores a person of this age on the last day of enrolment."""
    return ADULT if age_last >= FIRST_AGES[ADULT] else CHILD if age_last >= FIRST_AGES[CHILD] else INFANT


def band_of(model: str, age_last: int) -> str:
    """The age band of an adult or child, such as 25_29."""
    return [band for band in _BANDS[model] if int(band.split("_")[0]) <= age_last][-1]


def durations(model: HhsModel) -> dict[int, str]:
    """The variable of each number of enrolled months that has one."""
    return {n: f"HCC_ED{n}" for n in range(1, 7)} if model.duration_needs_hcc else {n: f"ED_{n}" for n in range(1, 12)}


def counts(model: HhsModel, kind: str) -> dict[str, dict[int, str]]:
    """By SEVERE and TRANSPLANT the variable of each number of HCCs, up to _LONG, that has one."""
    if model.severity != "counts" or kind == "infant":
        return {}
    if kind == "adult":
        severe = {n: f"SEVERE_HCC_COUNT{n}" for n in range(1, 10)} | _from(10, "SEVERE_HCC_COUNT10PLUS")
        transplant = {n: f"TRANSPLANT_HCC_COUNT{n}" for n in range(4, 8)} | _from(8, "TRANSPLANT_HCC_COUNT8PLUS")
    else:
        severe = {n: f"SEVERE_HCC_COUNT{n}" for n in range(1, 6)} | _from(8, "SEVERE_HCC_COUNT8PLUS")
        # the printed condition `SEVERE and 6 or 7` would count the healthy, too: SEVERE is meant for both
        severe |= dict.fromkeys((6, 7), "SEVERE_HCC_COUNT6_7")
        transplant = _from(4, "TRANSPLANT_HCC_COUNT4PLUS")
    return {"SEVERE": severe, "TRANSPLANT": transplant}


def _from(first: int, variable: str) -> dict[int, str]:
    return dict.fromkeys(range(first, _LONG + 1), variable)


def generated_variables(model: HhsModel, kind: str) -> set[str]:
    """Every variable the rules of one of MODELS can set to 1 for some person."""
    if kind == "infant":
        pairs = {f"{maturity}_X_SEVERITY{n + 1}" for maturity in (*MATURITIES, AGE1) for n in range(SEVERITIES)}
        return pairs | {"AGE0_MALE", "AGE1_MALE"}
    found = {f"{sex}AGE_LAST_{band}" for sex in "MF" for band in _BANDS[kind]}
    found |= {variable_of(hcc) for hcc in model.hccs if hcc not in model.excluded[kind]} | set(model.groups[kind])
    found |= {name for by_count in counts(model, kind).values() for name in by_count.values()}
    if kind == "adult":
        found |= {*durations(model).values(), *(f"RXC_{n:02d}" for n in range(1, RXCS + 1))}
        found |= {each.variable for each in model.interactions}
        found |= {"INT_GROUP_H"} if model.severity == "group_h" else set()
    return found


def _rows(year: int, file: str) -> Iterator[dict[str, str]]:
    path = resources.files("engine.scoring.hcc") / "tables" / "hhs" / str(year) / file
    with path.open(encoding="utf-8") as lines:
        yield from csv.DictReader(lines)


def _ages(text: str) -> Ages:
    low, _, high = text.partition("-")
    return int(low or 0), int(high or _OLDEST)


_SEXES = {"F": 1, "M": 0, "": -1}


def _codes(year: int) -> dict[str, tuple[CodeRow, ...]]:
    found: dict[str, list[CodeRow]] = {}
    for row in _rows(year, "codes.csv"):
        found.setdefault(row["code"], []).append(
            CodeRow(
                tuple(letter == "Y" for letter in row["valid"]),
                tuple(_SEXES[part] for part in row["mce_sex"].split("|")),
                tuple(_ages(part) for part in row["mce_age"].split("|")),
                _ages(row["age_last"]),
                _SEXES[row["sex"]],
                tuple(row["ccs"].split()),
            )
        )
    return {code: tuple(rows) for code, rows in found.items()}


def _nested(year: int, file: str, *keys: str) -> dict[str, Any]:
    """The last of the columns `keys`, gathered by those before it, for each of MODELS where the first is one."""
    found: dict[str, Any] = {kind: {} if len(keys) > 2 else [] for kind in MODELS} if keys[0] == "model" else {}
    for row in _rows(year, file):
        *outer, last = (row[key] for key in keys)
        inner = found
        for key in outer[:-1]:
            inner = inner.setdefault(key, {})
        inner.setdefault(outer[-1], []).append(last)
    frozen: dict[str, Any] = _frozen(found)
    return frozen


def _frozen(value: Any) -> Any:
    return {key: _frozen(each) for key, each in value.items()} if isinstance(value, dict) else tuple(value)


def _order(hcc: str) -> tuple[int, int]:
    whole, _, part = hcc.partition("_")
    return int(whole), int(part or 0)


def _check(model: HhsModel) -> None:
    """Raises HccError where the tables do not fit together: above all for a variable without a row of coefficients."""
    for kind in MODELS:
        priced = {name for model_name, name in model.variables if model_name == kind}
        lacking, surplus = generated_variables(model, kind) - priced, priced - generated_variables(model, kind)
        if lacking or surplus:
            raise HccError(
                f"HHS-HCC {model.benefit_year}, {kind}: variables without coefficients {sorted(lacking)}, never set "
                f"{sorted(surplus)}"
            )
    if len(set(model.variables)) != len(model.variables):
        raise HccError(f"HHS-HCC {model.benefit_year}: a variable has two rows of coefficients")
    known = set(model.hccs)
    named = {hcc for rows in model.codes.values() for row in rows for hcc in row.ccs}
    named |= {*model.hierarchy, *(hcc for dropped in model.hierarchy.values() for hcc in dropped)}
    named |= {hcc for hccs in model.excluded.values() for hcc in hccs}
    named |= {hcc for groups in model.groups.values() for hccs in groups.values() for hcc in hccs}
    named |= {hcc for each in model.interactions for hcc in (*each.one_of, *each.and_one_of)}
    if named - known:
        raise HccError(f"HHS-HCC {model.benefit_year}: the tables name the HCCs {sorted(named - known)}, no labels")


@cache
def load_hhs(year: int) -> HhsModel:
    """The models of a benefit year. Raises HccError for a year without tables."""
    if year not in BENEFIT_YEARS:
        raise HccError(f"benefit year {year}: there are tables for {', '.join(map(str, BENEFIT_YEARS))}")
    path = resources.files("engine.scoring.hcc") / "tables" / "hhs" / str(year) / "model.toml"
    facts = tomllib.loads(path.read_text(encoding="utf-8"))
    labels = {row["hcc"]: row["label"] for row in _rows(year, "labels.csv")}
    priced = list(_rows(year, "coefficients.csv"))
    model = HhsModel(
        year,
        facts["version"],
        facts["first_fiscal_year"],
        facts["duration_needs_hcc"],
        facts["severity"],
        {kind: tuple(hccs) for kind, hccs in facts["uncounted"].items()},
        tuple((first, other) for first, other in facts["rxc_drops"]),
        tuple(sorted(labels, key=_order)),
        _codes(year),
        _nested(year, "hierarchy.csv", "hcc", "drops"),
        labels,
        _nested(year, "excluded.csv", "model", "hcc"),
        _nested(year, "groups.csv", "model", "group", "hcc"),
        _nested(year, "sets.csv", "model", "set", "member"),
        tuple(
            Interaction(
                row["variable"], int(row["rxc"]), tuple(row["one_of"].split()), tuple(row["and_one_of"].split())
            )
            for row in _rows(year, "interactions.csv")
        ),
        {(row["kind"], row["code"]): int(row["rxc"]) for row in _rows(year, "drugs.csv")},
        frozenset(row["code"] for row in _rows(year, "services.csv")),
        tuple((row["model"], row["variable"]) for row in priced),
        np.array([[round(float(row[metal]) * 1000) for metal in METALS] for row in priced], np.int64),
        {
            int(row["indicator"]): (row["metal"], round(float(row["factor"]) * 100))
            for row in _rows(year, "cost_sharing.csv")
        },
        facts["no_cost_sharing"],
    )
    _check(model)
    return model
