"""Which interventions of the catalogue fit a member's risk factors."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.scoring.risk_factors import RiskFactor

MOST = 3


@dataclass(frozen=True, slots=True)
class Intervention:
    """An entry of the catalogue: offered from `minimum_category` on to members whom one of `factors` puts at risk.

    `factors` are codes of risk factors; an empty list fits everyone of the category. `evidence` cites why.
    """

    code: str
    title: str
    factors: tuple[str, ...]
    minimum_category: int
    evidence: str


def recommend(catalogue: Sequence[Intervention], factors: Sequence[RiskFactor], category: int) -> list[str]:
    """Codes of at most MOST interventions, in the order of the factors they answer; the general ones last."""
    open_to = [entry for entry in catalogue if category >= entry.minimum_category]
    chosen: list[str] = []
    for factor in factors:
        if factor.direction == "raises":
            chosen += [e.code for e in open_to if factor.code in e.factors and e.code not in chosen]
    chosen += [entry.code for entry in open_to if not entry.factors and entry.code not in chosen]
    return chosen[:MOST]
