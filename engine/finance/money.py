"""Exact money: whole cents, and their division among many so that nothing is left over and nobody is favoured."""

import math
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from engine.errors import VitaNexusError

Cents = NDArray[np.int64]
_MOST = 2**62


class FinanceError(VitaNexusError):
    """A figure was refused. Correct the field that the message names; nothing has been booked."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def cents_of(dollars: Decimal | str | int) -> int:
    """Dollars as whole cents. Raises FinanceError for a fraction of a cent: nothing is rounded in silence."""
    exact = Decimal(dollars) * 100
    if not exact.is_finite() or exact != exact.to_integral_value():
        raise FinanceError("amount", f"amount {dollars} has a fraction of a cent")
    return int(exact)


def dollars_of(cents: int) -> Decimal:
    """Whole cents as dollars with two places."""
    return Decimal(int(cents)).scaleb(-2)


def allocate(total: int, weights: NDArray[np.integer], ids: Sequence[str] | NDArray[np.str_]) -> Cents:
    """Divides `total` cents in proportion to whole `weights` [n], exactly: the shares sum to the total.

    Each has its share rounded down, and the cents left over go one each by the largest remainder, of equal ones to the
    lower id (largest remainder, or Hamilton's method); a negative total gives the same shares with the other sign. So
    the outcome hangs neither on the order of the input nor on a rounding mode. Raises FinanceError for a negative
    weight, for no weight at all where there is money to divide, and for products beyond 62 bits.
    """
    share = np.asarray(weights, np.int64)
    if len(share) != len(ids):
        raise FinanceError("weights", f"{len(share)} weights for {len(ids)} ids")
    if (share < 0).any():
        at = int(np.flatnonzero(share < 0)[0])
        raise FinanceError("weights", f"weight {share[at]} of {ids[at]} is negative")
    whole, size = int(share.sum(dtype=object)) if len(share) else 0, abs(int(total))
    if size == 0:
        return np.zeros(len(share), np.int64)
    if whole == 0:
        raise FinanceError("weights", f"{total} cents cannot be divided: all weights are 0")
    if size * int(share.max()) >= _MOST:
        raise FinanceError("weights", f"{total} cents by weights up to {share.max()} are beyond exact arithmetic here")
    products = size * share
    out, rest = products // whole, products % whole
    left = size - int(out.sum())
    if left:
        edge = np.partition(rest, len(rest) - left)[len(rest) - left]
        out[rest > edge] += 1
        tied = np.flatnonzero(rest == edge)
        room = left - int((rest > edge).sum())
        out[tied[np.argsort(np.asarray(ids, np.str_)[tied], kind="stable")[:room]]] += 1
    return out if total > 0 else -out


def rounded(exact: Sequence[Decimal]) -> list[int]:
    """Exact cents that sum to whole cents, as whole cents of the same sum: the largest remainders are rounded up.

    Of equal remainders the earlier goes first. Raises FinanceError where they do not sum to whole cents.
    """
    total = sum(exact, Decimal(0))
    if total != total.to_integral_value():
        raise FinanceError("amounts", f"the parts sum to {total} cents, which is not whole")
    floors = [math.floor(part) for part in exact]
    left = int(total) - sum(floors)
    order = sorted(range(len(exact)), key=lambda i: (floors[i] - exact[i], i))
    for i in order[:left]:
        floors[i] += 1
    return floors
