"""The annual cost of one member as a lattice law."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from simulations.exact import discretise
from simulations.severity import Severity

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
STEPS_PER_ATTACHMENT = 512
_TAIL_TOLERANCE = 2e-5
_SMALLEST = 1 << 14
_LARGEST = 1 << 18


@dataclass(frozen=True, slots=True, eq=False)
class MemberLaw:
    """Lattice transforms of the categories: step in dollars, points, transforms [categories, points / 2 + 1]."""

    step: float
    points: int
    transforms: Complexes
    dispersion: Floats  # 0 for Poisson

    def exponent(self, means: Floats) -> Complexes:
        """The logarithm of the transform of a member's annual cost with expected claims `means` [categories].

        Categories add up, so that those of a scenario's moving part may be taken apart from the rest.
        """
        total = np.zeros(self.transforms.shape[1], complex)
        for transform, mean, k in zip(self.transforms, means, self.dispersion, strict=True):
            if mean > 0:
                total += mean * (transform - 1.0) if k == 0 else -k * np.log1p(-(mean / k) * (transform - 1.0))
        return total

    def masses(self, exponent: Complexes) -> Floats:
        """Masses [points] of the annual cost whose transform has this logarithm."""
        out = np.maximum(np.fft.irfft(np.exp(exponent), self.points), 0.0)
        return np.asarray(out / out.sum())


def build_member_law(laws: list[Severity], dispersion: Floats, attachment: float) -> MemberLaw | None:
    """The member law on a lattice of 512 steps an attachment, or None where a severity's tail is too heavy for it.

    The lattice is long enough that each severity has less than 2e-5 of its mean beyond half of it.
    """
    step = attachment / STEPS_PER_ATTACHMENT
    points = _SMALLEST
    while points <= _LARGEST:
        half = np.array([step * points / 2.0])
        if all(law.moment(1) - float(law.limited_mean(half)[0]) < _TAIL_TOLERANCE * law.moment(1) for law in laws):
            transforms = np.array([np.fft.rfft(_capped(law, step, points)) for law in laws])
            return MemberLaw(step, points, transforms, dispersion)
        points *= 2
    return None


def _capped(law: Severity, step: float, points: int) -> Floats:
    """The severity on half the lattice; what lies beyond goes to the last point of that half."""
    masses = np.zeros(points)
    half = points // 2
    masses[:half] = discretise(law, step, half)
    masses[half] = max(0.0, 1.0 - masses.sum())
    return masses


def thinned(masses: Floats, step: float) -> tuple[Floats, Floats]:
    """A lattice law as fewer points, (dollars, weights): 128 lattice points, then bins growing by 2 percent.

    A bin becomes its mean; one ends at the attachment, so that within a bin a cost is linear in its layer, and means of
    layers are kept.
    """
    starts = _bins(len(masses))
    weights = np.add.reduceat(masses, starts)
    sums = np.add.reduceat(masses * (step * np.arange(len(masses))), starts)
    keep = weights > 1e-18
    return sums[keep] / weights[keep], weights[keep]


@cache
def _bins(points: int) -> NDArray[np.int64]:
    edges = {*range(128), STEPS_PER_ATTACHMENT + 1}
    at = 128.0
    while at < points:
        edges.add(int(at))
        at *= 1.02
    return np.array(sorted(edges))
