"""The law of one member of each class at nodes of the common shock: ground of method B and of the exact net twin."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from simulations.exact import PointLaws
from simulations.kernels.severity import ROWS
from simulations.member_law import MemberLaw, build_member_law, thinned
from simulations.plans import Shocks
from simulations.severity import Severity
from simulations.tables import CENTS, table_of_atoms
from simulations.threads import cores, in_slices

Floats = NDArray[np.float64]
NODES = 17
MAX_LAWS = 512


@dataclass(frozen=True, slots=True, eq=False)
class ClassLaws:
    """Class laws at nodes of the common factor z; `shocked` is a category the factor touches (-1 without shock).

    log_odds [nodes, classes]: logit of P(cost > attachment); cumulants [nodes, classes, 4] of a member's cost (cents)
    given that it is not beyond; tables [nodes, classes, ROWS, 2] given that it is; points [nodes x classes]: the whole
    law, thinned.
    """

    nodes: Floats
    shocked: int
    log_odds: Floats
    cumulants: Floats
    tables: Floats
    points: PointLaws


def shock_range(kind: int, cv: float) -> tuple[float, float]:
    """The quantiles of a shock at 1e-9 and 1 - 1e-9; kind 0 is gamma, 1 lognormal."""
    if kind == 0:
        shape = cv**-2.0
        return float(special.gammaincinv(shape, 1e-9) / shape), float(special.gammainccinv(shape, 1e-9) / shape)
    sigma = np.sqrt(np.log1p(cv**2))
    reach = -special.ndtri(1e-9) * sigma
    return float(np.exp(-reach - sigma**2 / 2)), float(np.exp(reach - sigma**2 / 2))


def shock_nodes(shocks: Shocks, count: int = NODES) -> Floats:
    """Nodes of the common factor z, evenly spaced over what all but one scenario in 10^9 reach; [1] without shock."""
    if len(shocks.kinds) == 0:
        return np.ones(1)
    ranges = [shock_range(int(kind), float(cv)) for kind, cv in zip(shocks.kinds, shocks.cvs, strict=True)]
    low, high = np.prod(np.array(ranges), axis=0)
    return np.linspace(low, high, count)


def _below(law: MemberLaw, masses: Floats, attachment: int) -> tuple[float, Floats]:
    """(P(cost > attachment), cumulants [4] in cents given that it is not)."""
    cut = round(attachment / CENTS / law.step)
    below = masses[: cut + 1]
    inside = float(below.sum())
    x = CENTS * law.step * np.arange(cut + 1)
    p = below / inside
    mean = float(p @ x)
    centred = x - mean
    second, third, fourth = (float(p @ centred**k) for k in (2, 3, 4))
    return 1.0 - inside, np.array([mean, second, third, fourth - 3.0 * second**2])


def build_class_laws(
    laws: list[Severity], dispersion: Floats, means: Floats, shocks: Shocks, attachment: int
) -> ClassLaws | None:
    """The laws of classes with expected claims means [classes, categories]; attachment in cents, positive.

    None where there are more than 512 classes, where shocks differ in what they touch, or a severity's tail is too
    heavy for a lattice.
    """
    if len(means) > MAX_LAWS or not shocks.aligned:
        return None
    law = build_member_law(laws, dispersion, attachment / CENTS)
    if law is None:
        return None
    nodes = shock_nodes(shocks)
    touched = shocks.touches.any(axis=0)
    cut = round(attachment / CENTS / law.step)
    odds = np.empty((len(nodes), len(means)))
    cumulants = np.empty((len(nodes), len(means), 4))
    tables = np.zeros((len(nodes), len(means), ROWS, 2))
    points: list[tuple[Floats, Floats]] = [(nodes, nodes)] * (len(nodes) * len(means))
    beyond = np.asarray(law.step * np.arange(cut + 1, law.points), np.float64)

    def work(first: int, size: int) -> None:
        for c in range(first, first + size):
            steady = law.exponent(np.where(touched, 0.0, means[c]))  # the same at every node
            for i, z in enumerate(nodes):
                masses = law.masses(steady + law.exponent(np.where(touched, means[c] * z, 0.0)))
                probability, cumulants[i, c] = _below(law, masses, attachment)
                probability = max(probability, 1e-15)
                odds[i, c] = np.log(probability) - np.log1p(-probability)
                tail = masses[cut + 1 :]
                if tail.sum() > 0:
                    tables[i, c] = table_of_atoms(beyond, tail)
                points[i * len(means) + c] = thinned(masses, law.step)

    in_slices(len(means), cores(), work)
    shocked = int(np.flatnonzero(touched)[0]) if touched.any() else -1
    return ClassLaws(nodes, shocked, odds, cumulants, tables, PointLaws.of(points))
