"""What has been said of members that may be taken back: facts, and how often each was said.

A diagnosis that two claim lines carry was said twice; when one of them is taken back the other still says it. So a
member has a list of facts with counts rather than bits: a claim and its reversal leave it as it was, in either order,
and what the facts mean by some model's tables or for some age is read from them when it is asked.

A fact is a word: three bits of kind, 37 of code, eight of year and 15 of count. Memory: 8 bytes a fact, up to as much
again as room to grow, and 12 bytes a member.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.scoring.sparse import grown

CONDITION, DIAGNOSIS, CATEGORY, ADMITTED, NDC, HCPCS = range(6)
"""Kinds: an index into CONDITIONS; an ICD-10-CM code; a bit of a condition category, of old snapshots; an ICD-10-CM
code on a line that HHS's risk adjustment admits; a drug dispensed, its code as a number; a drug given, a HCPCS code."""
EVER = 0
"""The year of a fact that is of no year."""
NO_KEY = -1
_CODE_BITS, _YEAR_BITS, _COUNT_BITS = 37, 8, 15
_FIRST_YEAR, _LAST_YEAR = 1971, 1970 + (1 << _YEAR_BITS) - 1
_MOST = (1 << (_COUNT_BITS - 1)) - 1
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LONGEST = 7
_FIRST_ROOM = 4
Integers = NDArray[np.int64]


@lru_cache(maxsize=131_072)
def code_number(code: str) -> int:
    """A code of up to seven digits and capitals as a number below 2^37; NO_KEY for any other text."""
    number = 0
    if not 1 <= len(code) <= _LONGEST:
        return NO_KEY
    for letter in code:
        place = _LETTERS.find(letter)
        if place < 0:
            return NO_KEY
        number = number * (len(_LETTERS) + 1) + place + 1
    return number


@lru_cache(maxsize=131_072)
def code_text(number: int) -> str:
    """The code of `code_number`."""
    text = ""
    while number:
        number, place = divmod(number, len(_LETTERS) + 1)
        text = _LETTERS[place - 1] + text
    return text


def key(kind: int, code: int, year: int = EVER) -> int:
    """The fact of a kind, code and year; NO_KEY for a year that no claim of ours is of."""
    if year != EVER:
        if not _FIRST_YEAR <= year <= _LAST_YEAR:
            return NO_KEY
        year -= _FIRST_YEAR - 1
    return (kind << (_CODE_BITS + _YEAR_BITS)) + (code << _YEAR_BITS) + year


@njit(cache=True, nogil=True)
def _key_of(word: int) -> int:
    return word >> _COUNT_BITS


@njit(cache=True, nogil=True)
def _count_of(word: int) -> int:
    return (word & ((1 << _COUNT_BITS) - 1)) - _MOST - 1


@njit(cache=True, nogil=True)
def _word(fact: int, count: int) -> int:
    return (fact << _COUNT_BITS) + min(max(count, -_MOST - 1), _MOST) + _MOST + 1


@njit(cache=True, nogil=True)
def _add(
    start: NDArray[np.int32],
    length: NDArray[np.int32],
    room: NDArray[np.int32],
    pool: Integers,
    used: int,
    first: int,
    slots: Integers,
    keys: Integers,
    signs: NDArray[np.int8],
) -> tuple[int, int]:
    """Adds facts from the `first` on to the members' lists; returns how far it came before the pool was full, and how
    much of that is used. A fact said no more often than it was taken back goes."""
    for i in range(first, len(slots)):
        slot, found = slots[i], -1
        begin, n = int(start[slot]), int(length[slot])
        for k in range(begin, begin + n):
            if _key_of(pool[k]) == keys[i]:
                found = k
                break
        if found >= 0:
            count = _count_of(pool[found]) + signs[i]
            if count == 0:
                pool[found] = pool[begin + n - 1]
                length[slot] = n - 1
            else:
                pool[found] = _word(keys[i], count)
            continue
        if n == room[slot]:
            wanted = 2 * n if n > 0 else _FIRST_ROOM
            if used + wanted > len(pool):
                return i, used
            for k in range(n):
                pool[used + k] = pool[begin + k]
            start[slot], room[slot] = used, wanted
            begin, used = used, used + wanted
        pool[begin + n] = _word(keys[i], np.int64(signs[i]))
        length[slot] = n + 1
    return len(slots), used


@njit(cache=True, nogil=True)
def _bits(
    start: NDArray[np.int32], length: NDArray[np.int32], pool: Integers, slots: Integers, conditions: NDArray[np.int32]
) -> None:
    """The conditions of the members in `slots` as bits, into their places of `conditions`."""
    for slot in slots:
        bits = 0
        for k in range(start[slot], start[slot] + length[slot]):
            fact = _key_of(pool[k])
            if fact >> (_CODE_BITS + _YEAR_BITS) == CONDITION and _count_of(pool[k]) > 0:
                bits |= 1 << (fact >> _YEAR_BITS)
        conditions[slot] = bits


@njit(cache=True, nogil=True)
def _listed(
    start: NDArray[np.int32],
    length: NDArray[np.int32],
    pool: Integers,
    slots: Integers,
    kind: int,
    rows: Integers,
    codes: Integers,
    years: Integers,
) -> int:
    """Place in `slots`, code and year of each fact of a kind that is said; returns how many."""
    n = 0
    for i in range(len(slots)):
        for k in range(start[slots[i]], start[slots[i]] + length[slots[i]]):
            fact = _key_of(pool[k])
            if fact >> (_CODE_BITS + _YEAR_BITS) == kind and _count_of(pool[k]) > 0:
                rows[n] = i
                codes[n] = (fact >> _YEAR_BITS) & ((1 << _CODE_BITS) - 1)
                years[n] = (fact & ((1 << _YEAR_BITS) - 1)) + _FIRST_YEAR - 1
                n += 1
    return n


@njit(cache=True, nogil=True)
def _drop(
    start: NDArray[np.int32], length: NDArray[np.int32], pool: Integers, members: int, first_years: Integers
) -> None:
    """Drops facts of years before the members' first."""
    for slot in range(members):
        k, first = int(start[slot]), first_years[slot] - _FIRST_YEAR + 1
        while k < start[slot] + length[slot]:
            year = _key_of(pool[k]) & ((1 << _YEAR_BITS) - 1)
            if year != EVER and year < first:
                pool[k] = pool[start[slot] + length[slot] - 1]
                length[slot] -= 1
            else:
                k += 1


@njit(cache=True, nogil=True)
def _laid_out(start: NDArray[np.int32], length: NDArray[np.int32], pool: Integers, members: int, out: Integers) -> None:
    """The members' facts one after the other, each member's rising."""
    at = 0
    for slot in range(members):
        for k in range(length[slot]):
            word, place = pool[start[slot] + k], at + k
            while place > at and out[place - 1] > word:
                out[place] = out[place - 1]
                place -= 1
            out[place] = word
        at += length[slot]


class Facts:
    """Lists of facts by member, in one pool of words; a list that outgrows its room moves to the pool's end."""

    def __init__(self) -> None:
        self._start, self._length, self._room = (np.zeros(0, np.int32) for _ in range(3))
        self._pool = np.zeros(1024, np.int64)
        self._used = 0

    def reserve(self, members: int) -> None:
        """Makes room for members in slots below `members`."""
        self._start, self._length, self._room = (
            grown(column, members) for column in (self._start, self._length, self._room)
        )

    def add(self, slots: Integers, keys: Integers, signs: NDArray[np.int8]) -> None:
        """Says facts (sign 1) of members, or takes them back (-1)."""
        done = 0
        while done < len(slots):
            done, self._used = _add(
                self._start, self._length, self._room, self._pool, self._used, done, slots, keys, signs
            )
            if done < len(slots):
                self._make_room()

    def _make_room(self) -> None:
        """Closes the gaps that lists have left where these are half of the pool, and doubles it otherwise."""
        if 2 * int(self._room.sum()) > self._used:
            self._pool = grown(self._pool, 2 * len(self._pool))
            return
        words = self._words(len(self._start))
        self._take(self._length.copy(), words, len(self._pool))

    def _take(self, lengths: NDArray[np.int32], words: Integers, size: int) -> None:
        self._length[: len(lengths)], self._room[: len(lengths)] = lengths, lengths
        ends = np.cumsum(lengths, dtype=np.int64)
        self._start[: len(lengths)] = ends - lengths
        self._used = len(words)
        self._pool = grown(words, max(size, 1024))

    def conditions(self, slots: Integers, out: NDArray[np.int32]) -> None:
        """The bits of the conditions that are said of members, into their places of `out`."""
        _bits(self._start, self._length, self._pool, slots, out)

    def of_kind(self, kind: int, slots: Integers) -> tuple[Integers, Integers, Integers]:
        """The facts of a kind that are said of the members: place in `slots`, code and year of each."""
        room = int(self._length[slots].sum())
        rows, codes, years = (np.empty(room, np.int64) for _ in range(3))
        n = _listed(self._start, self._length, self._pool, slots, kind, rows, codes, years)
        return rows[:n], codes[:n], years[:n]

    def drop_before(self, first_years: Integers) -> None:
        """Drops the facts of members that are of a year before their first."""
        _drop(self._start, self._length, self._pool, len(first_years), first_years)

    def nbytes(self) -> int:
        """Bytes in use."""
        return int(self._start.nbytes + self._length.nbytes + self._room.nbytes + 8 * self._used)

    def _words(self, members: int) -> Integers:
        words = np.empty(int(self._length[:members].sum()), np.int64)
        _laid_out(self._start, self._length, self._pool, members, words)
        return words

    def dump(self, members: int) -> dict[str, NDArray[Any]]:
        """Arrays for `load`: equal facts dump equal arrays, whatever came first."""
        return {"facts_lengths": self._length[:members], "facts": self._words(members)}

    def load(self, lengths: NDArray[np.int32], words: Integers) -> None:
        """Takes the place of what `dump` described. Room for the members must be there."""
        self._take(lengths, np.array(words), 0)
