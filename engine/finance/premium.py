"""The business's premium formula, as a filing recommendation for a cohort.

New premium = base premium x ((1 - health improvement) x (1 + utilisation) x regional cost index).

A health factor must not move an individual's premium: 42 USC 300gg(a)(1) and 45 CFR 147.102 for the individual and
small group markets, 45 CFR 146.121 for members of group plans. So the formula takes a cohort and nothing of any one
member.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact, localcontext

from engine.errors import VitaNexusError

CENT = Decimal("0.01")
MINIMUM_COHORT = 11
"""Fewest members of a cohort: below CMS's cell-size limit of 11 a cohort's experience is that of persons."""
RATE_REVIEW_THRESHOLD = Decimal("0.15")
"""An increase of 15 % or more within 12 months is subject to rate review: 45 CFR 154.200."""
LEAST_CHANGE, MOST_CHANGE = Decimal("-0.99"), Decimal(1)
"""A premium is not negative; a change of more than its own size is most likely one given in per cent."""
_EXACT = Context(prec=1000, traps=[Inexact])
"""Holds every product of our factors to the last digit; what it could not hold would be an error."""
_BOUNDS = {
    "base_premium": (Decimal("0.01"), Decimal(1_000_000)),
    "health_improvement": (Decimal("-0.99"), Decimal("0.99")),
    "utilisation": (Decimal("-0.99"), Decimal(10)),
    "regional_index": (Decimal("0.01"), Decimal(10)),
}


class PremiumError(VitaNexusError):
    """The recommendation was refused. Correct the named field, or rate the cohort together with others.

    `citation` is the law that forbids it, "" where none does.
    """

    def __init__(self, field: str, message: str, citation: str = "") -> None:
        super().__init__(f"{message} ({citation})" if citation else message)
        self.field = field
        self.citation = citation


@dataclass(frozen=True, slots=True)
class CohortExperience:
    """What is known of a cohort. Premium in dollars a member a month; factors as fractions (0.02 = 2 %).

    `changes` are the changes of its premium that took effect within the last 12 months, as fractions.
    """

    cohort_id: str
    members: int
    base_premium: Decimal
    health_improvement: Decimal
    utilisation: Decimal
    regional_index: Decimal
    changes: Sequence[Decimal] = ()

    def __post_init__(self) -> None:
        if self.members < MINIMUM_COHORT:
            raise PremiumError(
                "members",
                f"cohort {self.cohort_id!r} has {self.members} members: a recommendation needs at least "
                f"{MINIMUM_COHORT}, for a premium may not follow the health of one member",
                "45 CFR 146.121, 147.102",
            )
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise PremiumError(name, f"{name} is {value}: must lie between {low} and {high}")
        for change in self.changes:
            if not LEAST_CHANGE <= change <= MOST_CHANGE:
                raise PremiumError(
                    "changes_last_12_months",
                    f"changes_last_12_months holds {change}: a change lies between {LEAST_CHANGE} and {MOST_CHANGE} "
                    "(0.04 is 4 %)",
                )


@dataclass(frozen=True, slots=True)
class PremiumRecommendation:
    """The recommended premium in dollars a member a month, rounded half up to the cent, and every factor behind it.

    `change` is against the base premium, `change_12_months` with the earlier changes of the last 12 months compounded;
    both are exact. `rate_review` says whether the latter reaches the threshold.
    """

    health_factor: Decimal
    utilisation_factor: Decimal
    regional_factor: Decimal
    combined_factor: Decimal
    recommended_premium: Decimal
    change: Decimal
    change_12_months: Decimal
    rate_review: bool


def recommend(cohort: CohortExperience) -> PremiumRecommendation:
    """The formula in exact decimals."""
    with localcontext(_EXACT):
        health = 1 - cohort.health_improvement
        utilisation = 1 + cohort.utilisation
        combined = health * utilisation * cohort.regional_index
        exact = cohort.base_premium * combined
        year = combined
        for change in cohort.changes:
            year *= 1 + change
        change, change_12_months = combined - 1, year - 1
    with localcontext(Context(prec=1000)):
        premium = exact.quantize(CENT, ROUND_HALF_UP)
    return PremiumRecommendation(
        health,
        utilisation,
        cohort.regional_index,
        combined,
        premium,
        change,
        change_12_months,
        change_12_months >= RATE_REVIEW_THRESHOLD,
    )
