"""What a process has loaded for good is kept out of the garbage collector's sight."""

import gc


def keep_loaded() -> None:
    """Takes all that is there by now, models, modules and kernels, out of the collector's sight, its garbage aside.

    It would go over all of it every few seconds, for up to 0.2 s, in which nothing is committed or published.
    """
    gc.collect()
    gc.freeze()
