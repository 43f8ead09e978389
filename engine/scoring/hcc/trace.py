"""Why a member has the HCCs he has: diagnosis, CC, HCC, and what an edit, a need or a hierarchy did on the way.

Written from the tables without the kernels, so that each checks the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.domain import codes
from engine.scoring.hcc.model import Edit, HccModel


@dataclass(frozen=True, slots=True)
class TraceLine:
    """One step from a diagnosis to an HCC. `cc` and `hcc` are None where there is none; `note` says why.

    `hcc` is the payment HCC where the CC stood, `label` CMS's label of the CC.
    """

    icd10: str
    cc: int | None
    hcc: int | None
    label: str
    note: str


def _edit_note(edit: Edit, age: int, female: bool) -> str:
    """What the edit says of this person; empty where it does not fire."""
    origin = "Medicare Code Editor" if edit.mce else "CMS edit"
    becomes = "no CC" if edit.hcc is None else f"CC{edit.hcc}"
    if edit.sex == int(female):
        return f"{origin}: {'female' if female else 'male'}: {becomes}"
    if age <= edit.at_most or age >= edit.at_least:
        return f"{origin}: age {age}: {becomes}"
    return ""


def _ccs(model: HccModel, code: str, age: int, female: bool, mce: bool) -> tuple[tuple[int, ...], str]:
    edit = model.edits.get(code)
    if edit is not None and (mce or not edit.mce):
        note = _edit_note(edit, age, female)
        if note:
            return (() if edit.hcc is None else (edit.hcc,)), note
    return model.codes[code], ""


def _removed(model: HccModel, ccs: set[int]) -> dict[int, str]:
    """CCs that do not stand, with the reason."""
    removed = {
        hcc: "counts only with one of " + ", ".join(f"HCC{other}" for other in one_of)
        for hcc, one_of in model.needs.items()
        if hcc in ccs and not ccs & set(one_of)
    }
    standing = ccs - removed.keys()
    for parent in sorted(standing, reverse=True):
        for child in model.hierarchy.get(parent, ()):
            if child in standing:
                removed[child] = f"dropped by HCC{parent}"
    return removed


def trace(model: HccModel, icd10: Sequence[str], age: int, female: bool, *, mce: bool = True) -> list[TraceLine]:
    """The trace of one member: a line for each diagnosis and CC. `age` in completed years on 1 February."""
    found: list[tuple[str, int | None, str]] = []
    for code in sorted(set(map(codes.diagnosis, icd10))):
        if code not in model.codes:
            found.append((code, None, f"not in model {model.name}"))
            continue
        ccs, note = _ccs(model, code, age, female, mce)
        found += [(code, cc, note) for cc in ccs] or [(code, None, note)]
    removed = _removed(model, {cc for _, cc, _ in found if cc is not None})
    return [
        TraceLine(
            code,
            cc,
            None if cc is None or cc in removed else cc,
            "" if cc is None else model.labels.get(cc, ""),
            "; ".join(part for part in (note, removed.get(cc, "") if cc is not None else "") if part),
        )
        for code, cc, note in found
    ]
