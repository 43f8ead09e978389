"""The oracle's condition categories: CMS's and HHS's rows read one after the other, without the engine's arrays.

A member is one of `tests.oracle`.
"""

import datetime as dt
from typing import Any

import numpy as np

from engine.scoring import clinical, commercial
from engine.scoring.hcc.hhs import edge
from engine.scoring.hcc.hhs.model import load_hhs
from engine.scoring.hcc.model import load_model
from engine.scoring.hcc.trace import trace

EPOCH = dt.date(1970, 1, 1)
DAY_US = 86_400_000_000


def admit(member: Any, event: dict[str, Any], sign: int) -> None:
    """Diagnoses of lines that count for HHS-HCC, and drugs given."""
    year, hhs = int(event["service_date"][:4]), load_hhs(commercial.BENEFIT_YEAR)
    inpatient = event["claim_type"] == "institutional" and event["bill_type"] in ("111", "117")
    clinic = event["claim_type"] == "institutional" and event["bill_type"] in edge.OUTPATIENT
    served = event["procedure"] in hhs.services and (clinic or event["claim_type"] == "professional")
    if (inpatient and event["discharge_status"] != "30") or served:
        for code in event["diagnoses"]:
            member.admitted[year, code] += sign
    if event["procedure"] is not None:
        member.drugs[year, "hcpcs", event["procedure"]] += sign


def commercial_categories(member: Any, as_of_us: int) -> tuple[np.ndarray, int]:
    """HHS's CCs (words) and drug classes (bits) of the year and the year before."""
    year, hhs = (EPOCH + dt.timedelta(days=as_of_us // DAY_US)).year, load_hhs(commercial.BENEFIT_YEAR)
    words, classes = [0, 0, 0], 0
    if member.line not in commercial.LINES:
        return np.array(words, np.uint64), 0
    for (at, code), times in member.admitted.items():
        if times <= 0 or at not in (year, year - 1):
            continue
        last = max(at - member.birth.year, 0)
        now = last - (member.birth.month > 6 and last > 0)
        for row in hhs.codes.get(code, ()):
            sex, mce = row.mce_sex[1 % len(row.mce_sex)], row.mce_age[1 % len(row.mce_age)]
            own = int(member.sex == "female")
            fits = sex in (-1, own) and row.sex in (-1, own) and mce[0] <= now <= mce[1]
            valid = row.valid[min(commercial.BENEFIT_YEAR - hhs.first_fiscal_year, len(row.valid) - 1)]
            if fits and valid and row.age_last[0] <= last <= row.age_last[1]:
                for bit in (hhs.hccs.index(cc) for cc in row.ccs if cc in hhs.hccs):
                    words[bit // 64] |= 1 << bit % 64
    for (at, kind, code), times in member.drugs.items():
        if times > 0 and at in (year, year - 1) and (kind, code) in hhs.drugs:
            classes |= 1 << hhs.drugs[kind, code]
    return np.array(words, np.uint64), classes


def _of_year(member: Any, year: int) -> set[int]:
    """CCs of a year of service by the tables of CMS-HCC, edited for the age on 1 February after it."""
    age = year + 1 - member.birth.year - ((member.birth.month, member.birth.day) > (2, 1))
    codes = sorted(code for (at, code), times in member.diagnoses.items() if at == year and times > 0)
    lines = trace(load_model(clinical.MODEL, clinical.PAYMENT_YEAR), codes, max(age, 0), member.sex == "female")
    return {line.cc for line in lines if line.cc is not None}


def recent_categories(member: Any, as_of_us: int) -> np.ndarray:
    """The words of the CCs of the year and the year before."""
    year = (EPOCH + dt.timedelta(days=as_of_us // DAY_US)).year
    kept = {cc for at in (year, year - 1) for cc in _of_year(member, at)}
    return load_model(clinical.MODEL, clinical.PAYMENT_YEAR).words(sorted(kept))
