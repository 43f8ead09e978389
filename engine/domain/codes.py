"""One spelling for each code of care, whatever the source's: put on at the edge, where events and requests are decoded.

Files, forms and vendors spell one code in several ways: `e11.9` and `E119` are one diagnosis, `0093-7214-10` and
`00093721410` one drug. What is compared or looked up must have one spelling, or it is lost without a word. A text
that is no such code is passed on trimmed and in capitals: a claim is never refused for a code nobody knows.

Sources
- ICD-10-CM: CMS, ICD-10-CM Official Guidelines; claims carry the codes without the point (X12 837, element HI).
- NDC: FDA's ten digits in three segments; billing pads the short segment to 5-4-2 (CMS, NDC/HCPCS crosswalk).
- Revenue centre, type of bill: NUBC UB-04, form locators 42 (four digits) and 4 (leading zero).
- Place of service: CMS, two digits.
"""

import re
from collections.abc import Callable
from functools import lru_cache

Spelling = Callable[[str], str]
_NDC = re.compile(r"(\d{4,5})-(\d{3,4})-(\d{1,2})")


@lru_cache(maxsize=131_072)
def diagnosis(text: str) -> str:
    """An ICD-10-CM code in capitals, without its point."""
    return _plain(text).replace(".", "")


@lru_cache(maxsize=65_536)
def procedure(text: str) -> str:
    """A HCPCS or CPT code in capitals."""
    return _plain(text)


@lru_cache(maxsize=65_536)
def ndc(text: str) -> str:
    """A National Drug Code of 11 digits without dashes: 5-4-2, a short segment padded where the dashes show it."""
    plain = _plain(text)
    found = _NDC.fullmatch(plain)
    if found is None:
        return plain
    labeler, product, package = found.groups()
    return labeler.zfill(5) + product.zfill(4) + package.zfill(2)


@lru_cache(maxsize=1024)
def place_of_service(text: str) -> str:
    """A place of service of two digits; a file that took it for a number has lost the first."""
    return _padded(text, 2)


@lru_cache(maxsize=4096)
def drg(text: str) -> str:
    """An MS-DRG of three digits."""
    return _padded(text, 3)


@lru_cache(maxsize=4096)
def bill_type(text: str) -> str:
    """A type of bill of three characters: UB-04 prints a zero before it."""
    plain = _plain(text)
    return plain[1:] if len(plain) == 4 and plain.startswith("0") else plain


@lru_cache(maxsize=4096)
def revenue_center(text: str) -> str:
    """A revenue centre of four digits."""
    return _padded(text, 4)


def _plain(text: str) -> str:
    return text.strip().upper()


def _padded(text: str, digits: int) -> str:
    plain = _plain(text)
    return plain.zfill(digits) if plain.isdecimal() else plain
