"""Closed forms and published compound distributions, and the generator's known answers."""

import numpy as np
import pytest

from simulations.exact import compound_fft, compound_poisson, discretise, of_severity, panjer_poisson
from simulations.kernels.rng import philox
from simulations.severity import Gamma, Lognormal, Pareto


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_known_answers_of_random123(counter, key, answer) -> None:
    words = philox(*(np.uint64(word) for word in (*counter, *key)))
    assert " ".join(f"{int(word):08x}" for word in words) == answer


@pytest.mark.parametrize(
    ("law", "tvar"),
    [
        (Gamma(1, 1), 5.605170),
        (Lognormal(0, 1), 15.227960),
        (Gamma(2, 1), 7.769270),
        (Pareto(3, 2000), 11924.7665),
    ],
)
def test_tvar_of_single_claims(law, tvar) -> None:
    assert of_severity(law, 0.99)[1] == pytest.approx(tvar, rel=1e-7)


@pytest.mark.parametrize(("level", "var", "tvar"), [(0.99, 75.414506, 79.690109), (0.999, 85.105955, 88.796632)])
def test_compound_poisson_of_exponentials(level, var, tvar) -> None:
    law = compound_poisson(Gamma(1, 1), 50)
    assert law.quantile(level) == pytest.approx(var, rel=1e-7)
    assert law.tvar(level) == pytest.approx(tvar, rel=1e-7)


def test_compound_poisson_of_the_actuar_vignette() -> None:
    """Poisson(10) claims Gamma(2, 1), discretised with span 0.5."""
    masses = discretise(Gamma(2, 1), 0.5, 512)
    for total in (panjer_poisson(masses, 10, 512), compound_fft(masses, lambda z: 10 * (z - 1), 512)):
        cumulative = np.cumsum(total)
        levels = [0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999]
        found = [0.5 * int(np.searchsorted(cumulative, level)) for level in levels]
        assert found == pytest.approx([14.5, 19.5, 25, 30.5, 34, 37, 41, 43.5, 49.5], abs=0.5)
        values = 0.5 * np.arange(512)
        for level, expected in ((0.9, 35.42), (0.95, 38.55), (0.99, 45.01)):
            at = 0.5 * int(np.searchsorted(cumulative, level))
            beyond = float(np.sum(np.maximum(values - at, 0) * total)) / (1 - level)
            assert at + beyond == pytest.approx(expected, abs=0.5)
