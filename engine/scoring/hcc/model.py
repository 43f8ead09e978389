"""A CMS-HCC model as its tables say, checked and compiled to arrays for the kernels.

HCCs of a model are numbered 0, 1, ... in ascending order of their number; a set of them is two uint64 words. Relative
factors are thousandths in int64, so that scores are exact sums. Coefficients are an array [variables, segments].
"""

import csv
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import HccError

SEGMENTS: tuple[str, ...] = (
    "COMMUNITY_NA",
    "COMMUNITY_ND",
    "COMMUNITY_FBA",
    "COMMUNITY_FBD",
    "COMMUNITY_PBA",
    "COMMUNITY_PBD",
    "INSTITUTIONAL",
    "NE",
    "NE_SNP",
)
"""Community by Medicaid (none, full, partial benefit) and age (aged, disabled), institutional, new enrollees."""

MODELS: tuple[str, ...] = ("v28", "v24")
MACI = 0.059
"""Coding intensity adjustment of Medicare Advantage, the statutory minimum (42 USC 1395w-23)."""

BANDS = ("0_34", "35_44", "45_54", "55_59", "60_64", "65_69", "70_74", "75_79", "80_84", "85_89", "90_94", "95_GT")
NE_BANDS = (*BANDS[:5], "65", "66", "67", "68", "69", *BANDS[6:])
SEXES = ("M", "F")
DISABLED = "DISABLED"
COUNTS = (*(f"D{n}" for n in range(1, 10)), "D10P")
_WORDS = 2
_NEW_ENROLLEE_FLAGS = ("NMCAID_NORIGDIS", "MCAID_NORIGDIS", "NMCAID_ORIGDIS", "MCAID_ORIGDIS")
_MISSING = -1


@dataclass(frozen=True, slots=True)
class Edit:
    """A code's edit: whether it fires is a matter of sex (1 female, 0 male, -1 any) or of age, `hcc` what it becomes.

    `at_most` and `at_least` are ages in years (-1 and 999 where the edit has no such bound); `hcc` None makes the code
    invalid; `mce` edits can be switched off.
    """

    sex: int
    at_most: int
    at_least: int
    hcc: int | None
    mce: bool


@dataclass(frozen=True, slots=True)
class Year:
    """Payment facts of one year: normalisation factor, and the model's weight in the blend."""

    normalisation: float
    blend: float


@dataclass(frozen=True)
class HccModel:
    """One model. `codes` maps a code to its CCs in the year asked for; `variables` are rows of `coefficients`."""

    name: str
    hccs: tuple[int, ...]
    codes: Mapping[str, tuple[int, ...]]
    edits: Mapping[str, Edit]
    hierarchy: Mapping[int, tuple[int, ...]]
    needs: Mapping[int, tuple[int, ...]]
    categories: Mapping[str, tuple[int, ...]]
    interactions: Mapping[str, tuple[str | int, ...]]
    labels: Mapping[int, str]
    variables: tuple[str, ...]
    coefficients: NDArray[np.int64]
    in_segment: NDArray[np.bool_]
    years: Mapping[int, Year]
    recodes_64: bool

    def year(self, payment_year: int) -> Year:
        """The payment facts. Raises HccError for a year the model does not pay in."""
        if payment_year not in self.years:
            raise HccError(f"payment year {payment_year}: model {self.name} has {', '.join(map(str, self.years))}")
        return self.years[payment_year]

    def words(self, hccs: Sequence[int]) -> NDArray[np.uint64]:
        """The HCC numbers as a set of two words."""
        out = [0] * _WORDS
        for hcc in hccs:
            bit = self.hccs.index(hcc)
            out[bit // 64] |= 1 << (bit % 64)
        return np.array(out, np.uint64)


def _rows(name: str, file: str) -> Iterator[dict[str, str]]:
    path = resources.files(__package__) / "tables" / name / file
    with path.open(encoding="utf-8") as lines:
        yield from csv.DictReader(lines)


def _codes(name: str, payment_year: int) -> dict[str, tuple[int, ...]]:
    found: dict[str, list[int]] = {}
    for row in _rows(name, "codes.csv"):
        if not row["last_year"] or payment_year <= int(row["last_year"]):
            found.setdefault(row["code"], []).append(int(row["hcc"]))
    return {code: tuple(hccs) for code, hccs in found.items()}


def _edits(name: str) -> dict[str, Edit]:
    return {
        row["code"]: Edit(
            {"F": 1, "M": 0, "": _MISSING}[row["sex"]],
            int(row["age_at_most"] or _MISSING),
            int(row["age_at_least"] or 999),
            int(row["becomes_hcc"]) if row["becomes_hcc"] else None,
            row["kind"] == "mce",
        )
        for row in _rows(name, "edits.csv")
    }


def _coefficients(name: str) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.bool_]]:
    rows = list(_rows(name, "coefficients.csv"))
    thousandths = [[round(float(row[segment] or 0) * 1000) for segment in SEGMENTS] for row in rows]
    used = [[row[segment] != "" for segment in SEGMENTS] for row in rows]
    return tuple(row["variable"] for row in rows), np.array(thousandths, np.int64), np.array(used)


def _relation(name: str, file: str, key: str, value: str) -> dict[int, tuple[int, ...]]:
    found: dict[int, list[int]] = {}
    for row in _rows(name, file):
        found.setdefault(int(row[key]), []).append(int(row[value]))
    return {parent: tuple(children) for parent, children in found.items()}


def generated_variables(model: HccModel) -> list[str]:
    """Every variable the model's rules can set to 1 for some member."""
    aged = [f"{sex}{band}" for sex in SEXES for band in BANDS]
    new = [
        f"{flag}_NE{sex}{band}"
        for flag in _NEW_ENROLLEE_FLAGS
        for sex in SEXES
        for i, band in enumerate(NE_BANDS)
        if i >= NE_BANDS.index("65") or not flag.endswith("_ORIGDIS")
    ]
    origins = ["OriginallyDisabled_Female", "OriginallyDisabled_Male", "ORIGDS", "LTIMCAID"]
    return [*aged, *origins, *(f"HCC{hcc}" for hcc in model.hccs), *model.interactions, *COUNTS, *new]


def _check(model: HccModel) -> None:
    """Raises HccError where the tables do not fit together: above all for a variable without a row of coefficients."""
    generated = generated_variables(model)
    lacking = set(generated) - set(model.variables)
    surplus = set(model.variables) - set(generated)
    if lacking or surplus:
        raise HccError(f"model {model.name}: variables without coefficients {lacking}, never set {surplus}")
    idle = [v for v, used in zip(model.variables, model.in_segment, strict=True) if not used.any()]
    if idle:
        raise HccError(f"model {model.name}: no segment uses {idle}")
    known = set(model.hccs)
    for hcc in [*model.hierarchy, *(h for hs in model.hierarchy.values() for h in hs), *model.labels]:
        if hcc not in known:
            raise HccError(f"model {model.name}: the tables name HCC {hcc}, which has no codes")


@cache
def load_model(name: str, payment_year: int) -> HccModel:
    """The model `name` (v28, v24) with the code set of the payment year. Raises HccError."""
    if name not in MODELS:
        raise HccError(f"model {name!r} is not one of {', '.join(MODELS)}")
    path = resources.files(__package__) / "tables" / name / "model.toml"
    declared: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    codes, edits = _codes(name, payment_year), _edits(name)
    variables, coefficients, in_segment = _coefficients(name)
    model = HccModel(
        declared["name"],
        tuple(sorted({hcc for hccs in codes.values() for hcc in hccs})),
        codes,
        {code: edit for code, edit in edits.items() if code in codes},
        _relation(name, "hierarchy.csv", "hcc", "drops"),
        {need["hcc"]: tuple(need["one_of"]) for need in declared.get("needs", [])},
        {category: tuple(hccs) for category, hccs in declared["categories"].items()},
        {name: tuple(parts) for name, parts in declared["interactions"].items()},
        {int(row["hcc"]): row["label"] for row in _rows(name, "labels.csv")},
        variables,
        coefficients,
        in_segment,
        {int(year): Year(**facts) for year, facts in declared["years"].items()},
        declared["age_64_entitled_by_age_counts_as_65"],
    )
    _check(model)
    model.year(payment_year)
    return model
