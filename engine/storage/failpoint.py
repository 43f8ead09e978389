"""Named places in the commit at which a fault test has the process die or freeze."""

import os
import signal
from collections import Counter

VARIABLE = "VITANEXUS_FAILPOINT"
_passed: Counter[str] = Counter()


def failpoint(name: str) -> None:
    """Sends this process the signal of VITANEXUS_FAILPOINT="NAME:SIGNAL:N" the N-th time it comes to `name`."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted:
        place, sign, nth = wanted.split(":")
        _passed[name] += 1
        if place == name and _passed[name] == int(nth):
            os.kill(os.getpid(), signal.Signals[sign])
