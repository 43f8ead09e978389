"""What the law forbids a premium to follow, each with its citation. On by default in every line of business.

Sources read: 42 USC 300gg(a)(1); 45 CFR 147.102, 146.121, 146.122.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from engine.finance.premium import PremiumError

RATED_BY_RULE = ("individual", "small_group")
"""Markets in which a premium may vary by family, rating area, age and tobacco only."""
_PERSON = "42 USC 300gg(a)(1); 45 CFR 147.102, 146.121"
_GENETIC = "45 CFR 146.122"
_VARIATION = "42 USC 300gg(a)(1); 45 CFR 147.102(a)(1)"
_LIMITS: Mapping[str, Decimal | None] = {
    "family": None,
    "rating_area": None,
    "age": Decimal(3),
    "tobacco": Decimal("1.5"),
}
"""What may vary, and the largest ratio of the highest to the lowest premium by it."""
_PERSONS = ("member_id", "member_ids", "subscriber_id", "policy_id", "person_id")
_HEALTH_FACTORS = (
    "health_score",
    "risk_score",
    "health_status",
    "medical_condition",
    "conditions",
    "diagnoses",
    "claims_experience",
    "receipt_of_health_care",
    "medical_history",
    "evidence_of_insurability",
    "disability",
)
_GENETIC_FACTORS = ("genetic_information", "family_history")


def refuse_persons(named: Iterable[str]) -> None:
    """Refuses a recommendation that names a person, a health factor of one, or genetic information.

    Raises PremiumError with the field and the citation.
    """
    for field in named:
        if field in _PERSONS:
            raise PremiumError(field, f"{field} names one person: a premium follows a cohort, never a person", _PERSON)
        if field in _GENETIC_FACTORS:
            raise PremiumError(field, f"{field} must not enter underwriting", _GENETIC)
        if field in _HEALTH_FACTORS:
            raise PremiumError(field, f"{field} is a health factor of persons: no premium differs by it", _PERSON)


def check_rating_factors(line_of_business: str, ratios: Mapping[str, Decimal]) -> None:
    """Checks by what the premiums inside the cohort are to vary, as ratios of the highest to the lowest.

    Individual and small group: only family, rating area, age (3:1 at most) and tobacco (1.5:1 at most). Other markets:
    not by a health factor. Raises PremiumError with the field and the citation.
    """
    refuse_persons(ratios)
    for name, ratio in ratios.items():
        field = f"rating_factors.{name}"
        if ratio < 1:
            raise PremiumError(field, f"{field} is {ratio}: a ratio of the highest to the lowest premium is at least 1")
        if line_of_business not in RATED_BY_RULE:
            continue
        if name not in _LIMITS:
            raise PremiumError(
                field,
                f"{name!r} is nothing by which {line_of_business} premiums may vary: only {', '.join(_LIMITS)} are",
                _VARIATION,
            )
        limit = _LIMITS[name]
        if limit is not None and ratio > limit:
            raise PremiumError(
                field, f"{field} is {ratio}: {line_of_business} premiums vary by {name} at most {limit}:1", _VARIATION
            )
