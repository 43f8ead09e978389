"""Age in completed years: the one way it is counted, for people, files, requests and kernels alike."""

import datetime as dt
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_ORDINAL_OF_1970 = dt.date(1970, 1, 1).toordinal()
_DAYS_OF_400_YEARS, _FROM_MARCH_OF_YEAR_0 = 146_097, 719_468


@njit(cache=True, nogil=True)
def civil(day: int) -> tuple[int, int, int]:
    """Year, month (1 to 12) and day of the month of a day counted from 1970-01-01, in the Gregorian calendar.

    Years are counted from March on, so that the day that is there in some years only is a year's last, and in eras of
    400 years, which are all of one length.
    """
    from_march = day + _FROM_MARCH_OF_YEAR_0
    era = from_march // _DAYS_OF_400_YEARS
    within = from_march - era * _DAYS_OF_400_YEARS
    # each 4 years have one day more than 1,460, each 100 of them one less, the last of 400 one more
    year = (within - within // 1460 + within // 36_524 - within // 146_096) // 365
    rest = within - (365 * year + year // 4 - year // 100)
    month = (5 * rest + 2) // 153  # five months from March on have 153 days, twice, and then come two
    date = rest - (153 * month + 2) // 5 + 1
    return era * 400 + year + (month >= 10), month + 3 if month < 10 else month - 9, date


@njit(cache=True, nogil=True)
def years_completed(born: int, on: int) -> int:
    """Whole years between two days counted from 1970-01-01, as `completed_years` counts them."""
    year, month, date = civil(on)
    birth_year, birth_month, birth_date = civil(born)
    return int(year - birth_year - (month * 32 + date < birth_month * 32 + birth_date))


def age_on(born: dt.date, on: dt.date) -> int:
    """`completed_years` of two dates."""
    return int(years_completed(born.toordinal() - _ORDINAL_OF_1970, on.toordinal() - _ORDINAL_OF_1970))


@njit(cache=True, nogil=True)
def _each(born: NDArray[np.int64], on: NDArray[np.int64], out: NDArray[np.int64]) -> None:
    for i in range(len(out)):
        out[i] = years_completed(born[i], on[i])


def completed_years(born: Any, on: Any) -> NDArray[np.int64]:
    """Whole years from the dates `born` to the dates `on`, both M8[D] or datetime.date, broadcast; negative before.

    A year is completed as the birthday begins; who was born on 29 February completes it on 1 March of other years.
    """
    both = np.broadcast_arrays(np.asarray(born, "M8[D]").astype(np.int64), np.asarray(on, "M8[D]").astype(np.int64))
    days = [np.array(each).reshape(-1) for each in both]
    out = np.empty(len(days[0]), np.int64)
    _each(*days, out)
    return out.reshape(both[0].shape)
