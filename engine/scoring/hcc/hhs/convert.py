"""CMS's "Do It Yourself" tables of a benefit year, as parquet and JSON, into the layout of `tables/hhs/<year>`.

`vitanexus hcc tables` calls it once for a new year. What does not look as every year so far is refused, not guessed.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pyarrow import parquet

from engine.domain.events import METALS
from engine.errors import HccError

_HCC = re.compile(r"HHS_HCC(\d{3}(?:_\d)?)\b")
_GROUP = re.compile(r"\b(G\d\d[A-Z]?)\b")
_BILLED = "yes"
_MATURITIES = ("EXTREMELY_IMMATURE", "IMMATURE", "PREMATURE_MULTIPLES", "TERM")
_FISCAL_YEAR_OF_FIRST_COLUMN = {2021: 2021, 2022: 2022, 2023: 2023, 2024: 2023, 2025: 2024}
"""Table 3's validity columns lost their headers; told from which codes of which fiscal year they hold."""
_AGES = {
    "age = 0": "0-0",
    "age >= 1": "1-",
    "age < 2": "0-1",
    "age >= 2": "2-",
    "age < 18": "0-17",
    "age >= 18": "18-",
    "age < 21": "0-20",
    "age >= 21": "21-",
    "age < 50": "0-49",
    "age >= 50": "50-",
    "6 <= age <= 18": "6-18",
    "9 <= age <= 64": "9-64",
    "age >=15": "15-",
    "0 <= age <= 17": "0-17",
}


def convert(source: Path, year: int, out: Path) -> dict[str, int]:
    """Writes the tables of a benefit year; returns rows by file. Raises HccError, naming table and value."""
    out.mkdir(parents=True, exist_ok=True)
    definitions = list(_definitions(source))
    tables: dict[str, tuple[tuple[str, ...], list[tuple[Any, ...]]]] = {
        "codes.csv": (("code", "valid", "mce_sex", "mce_age", "age_last", "sex", "ccs"), list(_codes(source))),
        "hierarchy.csv": (("hcc", "drops"), list(_hierarchy(source))),
        "labels.csv": (("hcc", "label"), [(_hcc(row[1]), row[3].strip()) for row in _table(source, "4")]),
        "excluded.csv": (("model", "hcc"), list(_excluded(source))),
        "groups.csv": (("model", "group", "hcc"), list(_groups(definitions))),
        "sets.csv": (("model", "set", "member"), list(_sets(definitions))),
        "interactions.csv": (("variable", "rxc", "one_of", "and_one_of"), list(_interactions(definitions))),
        "drugs.csv": (("kind", "code", "rxc"), list(_drugs(source))),
        "services.csv": (("code",), list(_services(source))),
        "coefficients.csv": (("model", "variable", *METALS), list(_coefficients(source))),
        "cost_sharing.csv": (("indicator", "metal", "factor"), list(_cost_sharing(definitions))),
    }
    for name, (head, rows) in tables.items():
        with (out / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(head)
            writer.writerows(rows)
    (out / "model.toml").write_text(_facts(source, year, definitions), encoding="utf-8")
    return {name: len(rows) for name, (_, rows) in tables.items()}


def _table(source: Path, number: str) -> list[list[str]]:
    """Rows of a parquet table as text, empty where CMS left the cell empty."""
    table = parquet.read_table(source / f"table_{number}.parquet")
    columns = [["" if cell is None else str(cell) for cell in column.to_pylist()] for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def _definitions(source: Path) -> Iterator[tuple[str, str, str, str]]:
    """Model, variable, whether it is in the formula, and the statements that define it, of tables 6, 7 and 8."""
    for number in (6, 7, 8):
        for entry in json.loads((source / f"table_{number}.json").read_text(encoding="utf-8")):
            said = [entry["definition"], *(more.get("definition") for more in entry["continuation"])]
            used = str(entry.get("variable_used_in_risk_score_formula?") or "")
            text = "; ".join(line for line in said if line)
            yield entry["model"].lower(), entry["variable"].strip().upper(), used, text


def _hcc(text: str) -> str:
    """An HCC's number as text: 35.1, 35_1, 035_1 and 21.0 are 35_1 and 21."""
    whole, _, part = text.strip().replace("_", ".").partition(".")
    return str(int(whole)) + (f"_{int(part)}" if part and int(part) else "")


def _age(text: str) -> str:
    if text and text not in _AGES:
        raise HccError(f"table 3: age condition {text!r} is none of {', '.join(_AGES)}")
    return _AGES[text] if text else ""


def _sex(text: str) -> str:
    if text not in ("", "male", "female"):
        raise HccError(f"table 3: sex condition {text!r} is neither male nor female")
    return text[:1].upper()


def _one(values: Sequence[str]) -> str:
    """The values of the periods of a year; one where all are the same."""
    return values[0] if len(set(values)) == 1 else "|".join(values)


def _codes(source: Path) -> Iterator[tuple[str, ...]]:
    columns = parquet.read_table(source / "table_3.parquet").column_names
    periods = sum(name.startswith("mce_age") for name in columns)
    if len(columns) != 10 + 1 + 2 * periods:
        raise HccError(f"table 3 has the columns {', '.join(columns)}: its layout has changed")
    for row in _table(source, "3"):
        mce, rest = row[5 : 5 + 2 * periods], row[5 + 2 * periods :]
        ccs = [_hcc(text) for text in rest[2:5] if text]
        if set(row[3:5]) - {"Y", "N"} or not ccs:
            raise HccError(f"table 3: code {row[1]} is valid {row[3:5]} and has the CCs {rest[2:5]}")
        yield (
            row[1].strip(),
            row[3] + row[4],
            _one([_sex(text) for text in mce[1::2]]),
            _one([_age(text) for text in mce[0::2]]),
            _age(rest[0]),
            _sex(rest[1]),
            " ".join(ccs),
        )


def _hierarchy(source: Path) -> Iterator[tuple[str, str]]:
    for row in _table(source, "4"):
        for dropped in filter(None, (part.strip() for part in row[2].split(","))):
            yield _hcc(row[1]), _hcc(dropped)


def _excluded(source: Path) -> Iterator[tuple[str, str]]:
    rows = _table(source, "12")
    for place, model in ((2, "adult"), (3, "child"), (4, "infant")):
        for row in rows:
            if row[place].strip():
                yield model, _hcc(row[0])


def _groups(definitions: Iterable[tuple[str, str, str, str]]) -> Iterator[tuple[str, str, str]]:
    for model, variable, _, text in definitions:
        if _GROUP.fullmatch(variable):
            for hcc in dict.fromkeys(_HCC.findall(text)):
                yield model, variable, _hcc(hcc)


def _sets(definitions: Iterable[tuple[str, str, str, str]]) -> Iterator[tuple[str, str, str]]:
    """The sets of HCCs and groups that make a person severe, a transplant, of a severity or a maturity."""
    for model, variable, _, text in definitions:
        if variable in ("SEVERE", "TRANSPLANT", "SEVERE_V3"):
            members = _members(text)
        elif variable.startswith("SEVERE_V3_X_"):
            variable, members = "SEVERE_V3_WITH", _members(variable.replace("HHS_HCC", "HHS_HCC").replace("_X_", " "))
        elif re.fullmatch(r"IHCC_SEVERITY\d", variable):
            variable = variable.removeprefix("IHCC_")
            members = _members(" ".join(line for line in text.split(";") if f"then IHCC_{variable} = 1" in line))
        elif variable.removeprefix("IHCC_") in _MATURITIES and variable.startswith("IHCC_"):
            name, variable = variable, variable.removeprefix("IHCC_")
            lines = (line for line in text.split(";") if re.search(rf"then {name}\s*= 1", line))
            members = _members(" ".join(lines))
        else:
            continue
        yield from ((model, variable, member) for member in members)


def _members(text: str) -> list[str]:
    return list(dict.fromkeys([*map(_hcc, _HCC.findall(text)), *_GROUP.findall(text)]))


def _interactions(definitions: Iterable[tuple[str, str, str, str]]) -> Iterator[tuple[str, str, str, str]]:
    for _, variable, used, text in definitions:
        if variable.startswith("RXC_") and "_X_" in variable and used == "Yes":
            condition = text.split(" then ")[0]
            rxc = re.search(r"RXC_(\d\d) = 1", condition)
            parts = condition.split(" and ")[1:]
            if rxc is None or not 1 <= len(parts) <= 2:
                raise HccError(f"table 6: {variable} is defined as {text!r}")
            sets = [" ".join(map(_hcc, _HCC.findall(part))) for part in parts]
            yield variable, str(int(rxc[1])), sets[0], sets[1] if len(sets) > 1 else ""


def _drugs(source: Path) -> Iterator[tuple[str, str, str]]:
    for number, kind in (("10a", "ndc"), ("10b", "hcpcs")):
        for row in _table(source, number):
            code = row[2].strip()
            if len(code) != (11 if kind == "ndc" else 5):
                raise HccError(f"table {number}: {kind} {code!r} is of the wrong length")
            yield kind, code, str(int(float(row[0])))


def _services(source: Path) -> Iterator[tuple[str]]:
    columns = parquet.read_table(source / "table_2.parquet").column_names
    own = max(i for i, name in enumerate(columns) if "included_list" in name)
    for row in _table(source, "2"):
        if row[own].strip().lower() == _BILLED:
            yield (row[0].strip(),)


def _coefficients(source: Path) -> Iterator[tuple[str, ...]]:
    for row in _table(source, "9"):
        if row[2].strip() != "Yes":
            raise HccError(f"table 9: {row[1]} is not in the formula: {row[2]!r}")
        yield row[0].lower(), row[1].strip().upper(), *(f"{round(float(cell), 3):.3f}" for cell in row[3:8])


def _cost_sharing(definitions: Iterable[tuple[str, str, str, str]]) -> Iterator[tuple[str, str, str]]:
    """What table 6 says of a person's cost-sharing indicator: the score of this metal times this factor."""
    text = "; ".join(said for model, name, _, said in definitions if model == "adult" and name.startswith("CSR_ADJ"))
    pattern = r"CSR_INDICATOR = (\d+) then CSR_ADJUSTED_SCORE_ADULT_(\w+)\s*=\s*SCORE_ADULT_(\w+)\s*x\s*([\d.]+)"
    found = re.findall(pattern, text)
    if not found or any(first != second for _, first, second, _ in found):
        raise HccError(f"table 6: the cost-sharing factors are told as {text[:200]!r}")
    for indicator, metal, _, factor in found:
        yield indicator, metal.lower(), f"{float(factor.rstrip('.')):.2f}"


def _facts(source: Path, year: int, definitions: Sequence[tuple[str, str, str, str]]) -> str:
    if year not in _FISCAL_YEAR_OF_FIRST_COLUMN:
        raise HccError(f"benefit year {year}: say which fiscal year table 3's first validity column is of")
    version = parquet.read_table(source / "table_4.parquet").column_names[1].removesuffix("_hcc").upper()
    names = {name for model, name, _, _ in definitions if model == "adult"}
    drops = [(row[0], part.strip()) for row in _table(source, "11") for part in row[1].split(",") if part.strip()]
    lines = [
        f'version = "{version}"',
        f"first_fiscal_year = {_FISCAL_YEAR_OF_FIRST_COLUMN[year]}",
        "# whether the enrolment months count only with an HCC, and which severity rules hold",
        f"duration_needs_hcc = {str('HCC_ED1' in names).lower()}",
        f'severity = "{"counts" if "SEVERE" in names else "group_h"}"',
        "# HCCs that the count of HCCs leaves out, by model",
        'uncounted = { adult = ["22"] }' if "HCC_CNT" in names else "uncounted = {}",
        "# the indicator of who has no cost-sharing reduction",
        f"no_cost_sharing = {1 if 'HCC_CNT' in names else 0}",
        "# a drug class that drops another",
        f"rxc_drops = {[[int(float(one)), int(float(other))] for one, other in drops]}",
    ]
    return "\n".join(lines) + "\n"
