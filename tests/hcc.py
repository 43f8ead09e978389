"""Shorthands for tests of the HCC engine: one member at a time."""

from collections.abc import Sequence
from typing import Any

from engine.scoring.hcc.model import SEGMENTS
from engine.scoring.hcc.score import HccScores, score

SHORT = dict(zip(("CNA", "CND", "CFA", "CFD", "CPA", "CPD", "INS", "NE", "SNPNE"), SEGMENTS, strict=True))


def one(codes: Sequence[str], model: str = "v28", year: int = 2025, mce: bool = True, **person: Any) -> HccScores:
    """Scores one member, by default a man of 70 entitled by age, in all segments."""
    fields = {"age": 70, "sex": "M", "orec": "0"} | person
    members = {"member_id": ["m"], **{name: [value] for name, value in fields.items()}}
    diagnoses = {"member_id": ["m"] * len(codes), "icd10": list(codes)}
    if not codes:
        import pyarrow as pa

        diagnoses = {name: pa.array([], pa.string()) for name in diagnoses}
    return score(members, diagnoses, model, year, all_segments=True, mce=mce)


def hccs(result: HccScores) -> list[int]:
    """The member's payment HCCs."""
    return result.hcc_lists()[0].as_py()


def raw(result: HccScores, segment: str) -> float:
    """The raw score in the segment with this short name."""
    return result.table()[f"score_{SHORT[segment]}"][0].as_py()


def variables(result: HccScores, segment: str) -> dict[str, float]:
    """The ledger of one segment."""
    rows = result.ledger().to_pylist()
    return {row["variable"]: row["coefficient"] for row in rows if row["segment"] == SHORT[segment]}
