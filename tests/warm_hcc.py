"""Has numba compile the kernels of HHS-HCC, once, for every process that follows."""

from tests.hhs import one

one("F", 44, ["E1165"], ["00002751001"]).table()
