"""What a claim line says of care and of health: service category by CMS code sets, conditions by ICD-10-CM.

Sources
- Place of service: CMS, Place of Service Code Set for professional claims.
- Type of bill and revenue centres: NUBC Official UB-04 Data Specifications, as used by CMS in Medicare
  Claims Processing Manual (Pub. 100-04), chapters 1 and 25.
- Conditions: the questions of the Medical Expenditure Panel Survey (AHRQ) put into ICD-10-CM, held against
  AHRQ's Clinical Classifications Software Refined (CCSR) in the tests.
- Laboratory thresholds: beside `LAB_THRESHOLDS`.
"""

from collections.abc import Mapping
from functools import lru_cache

from engine.domain.events import CONDITIONS
from engine.domain.metrics import LAB_INDEX
from engine.errors import InvalidRecordError

SERVICE_CATEGORIES: tuple[str, ...] = (
    "inpatient",
    "emergency",
    "outpatient",
    "office",
    "pharmacy",
    "home_health",
    "other",
)
"""Where care was given, in the cut of the Medical Expenditure Panel Survey's spending by type of service."""

_CATEGORY: dict[str, int] = {name: i for i, name in enumerate(SERVICE_CATEGORIES)}
_PLACES: dict[str, str] = {
    "inpatient": "21 31 51 55 56 61",  # hospital, skilled nursing, psychiatric, rehabilitation
    "emergency": "23",
    "outpatient": "06 08 19 22 24 25 26 52 53 57 58 62 65",  # departments, surgery, day programmes, dialysis
    "office": "02 05 07 10 11 15 17 18 20 49 50 60 71 72",  # offices, clinics, urgent care, telehealth
    "pharmacy": "01",
    "home_health": "12 13 14",  # home, assisted living, group home
}
_CATEGORY_OF_PLACE: dict[str, int] = {
    place: _CATEGORY[name] for name, places in _PLACES.items() for place in places.split()
}
_BILLS: dict[str, str] = {
    "inpatient": "11 12 18 21 22 28 41 65 66 86",  # hospital, swing bed, skilled nursing, residential
    "outpatient": "13 14 23 43 72 74 75 76 83 84 85",  # hospital, dialysis, rehabilitation, critical access
    "office": "71 73 77 79",  # rural health, federally qualified and other clinics
    "home_health": "32 33 34",
}
_CATEGORY_OF_BILL: dict[str, int] = {bill: _CATEGORY[name] for name, bills in _BILLS.items() for bill in bills.split()}


@lru_cache(maxsize=65_536)
def service_category(
    claim_type: str, place_of_service: str | None, bill_type: str | None, revenue_center: str | None
) -> int:
    """Index into SERVICE_CATEGORIES of one claim line.

    The codes are spelled as engine.domain.codes spells them. A professional line goes by its place of service. An
    institutional line goes by the first two digits of its type of bill; an emergency-room revenue centre (0450-0459,
    0981) makes it "emergency" unless the bill is an inpatient one, where the visit is part of the stay. Dental and
    vision lines, ambulances, nursing homes, hospices, independent laboratories and every code not listed are "other": a
    claim is never refused for its place.
    """
    if claim_type == "professional":
        return _CATEGORY_OF_PLACE.get(place_of_service or "", _CATEGORY["other"])
    if claim_type != "institutional":
        return _CATEGORY["other"]
    category = _CATEGORY_OF_BILL.get((bill_type or "")[:2], _CATEGORY["other"])
    centre = revenue_center or ""
    if category != _CATEGORY["inpatient"] and (centre.startswith("045") or centre == "0981"):
        return _CATEGORY["emergency"]
    return category


_PREFIXES: dict[str, str] = {
    # O10 and O11 are hypertension that was there before the pregnancy
    "hypertension": "H3503 I10 I11 I12 I13 I15 I16 I674 O10 O11",
    "coronary_heart_disease": "I24 I25",
    "angina": "I20",
    "heart_attack": "I21 I22 I23 I252",
    "other_heart_disease": "I05 I06 I07 I08 I09 I27 I3 I4 I50 I51 I52 I5A",
    "stroke": "G450 G451 G452 G453 G458 G459 I60 I61 I62 I63 I69",  # with transient attacks; G454 is amnesia
    "emphysema": "J43",
    "chronic_bronchitis": "J41 J42 J44",
    "high_cholesterol": "E780 E781 E782 E783 E784 E785",  # E786 and after are other disorders
    "cancer": "C",
    "diabetes": "E08 E09 E10 E11 E13 O240 O241 O243",
    "joint_pain": "M255",
    "arthritis": "L405 M05 M06 M07 M08 M10 M11 M12 M13 M14 M15 M16 M17 M18 M19 M1A M45",
    "asthma": "J45",
}
_COMBINATIONS: dict[str, tuple[str, ...]] = {
    "I110": ("hypertension", "other_heart_disease"),  # hypertensive heart disease with heart failure
    "I130": ("hypertension", "other_heart_disease"),
    "I132": ("hypertension", "other_heart_disease"),
    "I2511": ("coronary_heart_disease", "angina"),
    "I257": ("coronary_heart_disease", "angina"),  # of bypass grafts, each with angina
}
CONDITION_PREFIXES: Mapping[str, tuple[int, ...]] = {
    prefix: (CONDITIONS.index(name),) for name, prefixes in _PREFIXES.items() for prefix in prefixes.split()
} | {prefix: tuple(sorted(map(CONDITIONS.index, names))) for prefix, names in _COMBINATIONS.items()}
"""ICD-10-CM prefix (no dot) -> indices into CONDITIONS. The longest prefix of a code wins."""

_LONGEST = max(map(len, CONDITION_PREFIXES))


@lru_cache(maxsize=131_072)
def conditions_of(icd10: str) -> tuple[int, ...]:
    """Indices into CONDITIONS of the conditions an ICD-10-CM code (upper case, no dot) names; () if none."""
    for length in range(min(_LONGEST, len(icd10)), 0, -1):
        found = CONDITION_PREFIXES.get(icd10[:length])
        if found is not None:
            return found
    return ()


LAB_THRESHOLDS: Mapping[str, tuple[float, str]] = {
    # American Diabetes Association, Standards of Care in Diabetes, section 2: A1c >= 6.5 % or fasting >=
    # 126 mg/dL
    "hba1c": (6.5, "diabetes"),
    "fasting_glucose": (126.0, "diabetes"),
    # NCEP Adult Treatment Panel III (2001): total >= 240 mg/dL and LDL >= 160 mg/dL are "high"
    "total_cholesterol": (240.0, "high_cholesterol"),
    "ldl_cholesterol": (160.0, "high_cholesterol"),
    # JNC 7 (2003) and ESC/ESH (2018): hypertension from 140/90 mmHg
    "systolic_bp": (140.0, "hypertension"),
    "diastolic_bp": (90.0, "hypertension"),
}
"""Test -> (lowest value that meets the criterion, condition)."""


def lab_conditions(test_code: str, value: float) -> int | None:
    """Index into CONDITIONS of the condition whose criterion one result meets, or None.

    One result is a finding to act on, not a diagnosis: each source asks for it to be confirmed. A test that
    is not in LAB_TESTS raises InvalidRecordError; a test without a threshold and a value that is NaN give
    None.
    """
    if test_code not in LAB_INDEX:
        raise InvalidRecordError("unknown_test", "test", f"test {test_code!r} is none of {sorted(LAB_INDEX)}")
    threshold = LAB_THRESHOLDS.get(test_code)
    return CONDITIONS.index(threshold[1]) if threshold and value >= threshold[0] else None
