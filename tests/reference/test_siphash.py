"""SipHash-2-4 against the values its authors print, in the paper (appendix A) and with the reference implementation."""

import numpy as np
import pytest

from engine.domain.duplicates import digest
from engine.domain.siphash import siphash

KEY = np.frombuffer(bytes(range(16)), "<u8")
PRINTED = {  # length of the message 00 01 02 ...: little-endian bytes of the hash
    0: "310e0edd47db6f72",
    1: "fd67dc93c539f874",
    2: "5a4fa9d909806c0d",
    3: "2d7efbd796666785",
    4: "b7877127e09427cf",
    8: "6224939a79f5f593",
    15: "e545be4961ca29a1",
}


@pytest.mark.parametrize("length", PRINTED)
def test_printed_values(length: int) -> None:
    message = np.arange(64, dtype=np.uint8)
    found = int(siphash(message.ctypes.data, length, *KEY))
    assert found.to_bytes(8, "little").hex() == PRINTED[length]
    shifted = np.concatenate([np.zeros(5, np.uint8), message])
    assert int(siphash(shifted.ctypes.data + 5, length, *KEY)) == found


def test_names_that_run_into_one_another_have_digests_of_their_own() -> None:
    names = {("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", ""), ("c", "ab"), ("é", "c")}
    assert len({digest(*name) for name in names}) == len(names)
