"""Runs schedules: `python -m tests.simulator --seeds 1000`, or one with its trace: `--seed 17 [--mutant NAME] -v`."""

import argparse
import sys
import time
from collections import Counter

from engine.learning.registry import load_models
from engine.scoring.health_score import HealthScorer
from engine.settings import load_rules
from tests.simulator.mutants import MUTANTS
from tests.simulator.run import run_seed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--seed", type=int, help="this one schedule; -v prints its trace")
    parser.add_argument("--seeds", type=int, default=1000, help="so many schedules")
    parser.add_argument("--first", type=int, default=0, help="from this seed on")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="with the code broken in this way")
    parser.add_argument("-v", "--verbose", action="store_true", help="print the trace of events")
    given = parser.parse_args()
    scorer = HealthScorer(load_models(), load_rules())
    seeds = range(given.first, given.first + given.seeds) if given.seed is None else [given.seed]
    begun, failed, faults = time.monotonic(), [], Counter[str]()
    for seed in seeds:
        outcome = run_seed(seed, scorer, given.mutant)
        faults.update(outcome.faults)
        if given.verbose:
            sys.stdout.write("\n".join([*outcome.trace, ""]))
        if outcome.failure:
            failed.append(seed)
            sys.stdout.write(outcome.told() + "\n")
    seconds = time.monotonic() - begun
    told = ", ".join(f"{count} {fault}" for fault, count in sorted(faults.items()))
    sys.stdout.write(
        f"{len(seeds)} schedules in {seconds:.1f} s, {len(failed)} failed: {failed[:20]}; faults made: {told}\n"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
