"""Exactly once under seeded schedules of crashes, freezes, lost connections and moves; and each mutant is found."""

import os
import subprocess
import sys
import zlib

import pytest

from engine.scoring.health_score import HealthScorer
from tests.conftest import ROOT
from tests.simulator.mutants import MUTANTS
from tests.simulator.run import run_seed

CI_SEEDS, ALL_SEEDS, BLOCK = 120, 1000, 20
MOST_SEEDS_TO_FIND_A_MUTANT = 40


def check_seeds(seeds: range, scorer: HealthScorer) -> None:
    told = [outcome.told() for seed in seeds if (outcome := run_seed(seed, scorer)).failure]
    assert not told, "\n".join(told)


@pytest.mark.parametrize("first", range(0, CI_SEEDS, BLOCK))
def test_whatever_fails_every_event_counts_once(first: int, scorer: HealthScorer) -> None:
    check_seeds(range(first, first + BLOCK), scorer)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(CI_SEEDS, ALL_SEEDS, BLOCK))
def test_a_thousand_schedules(first: int, scorer: HealthScorer) -> None:
    check_seeds(range(first, first + BLOCK), scorer)


@pytest.mark.parametrize("mutant", sorted(MUTANTS))
def test_the_simulator_finds_every_mutant(mutant: str, scorer: HealthScorer) -> None:
    failures = (run_seed(seed, scorer, mutant).failure for seed in range(MOST_SEEDS_TO_FIND_A_MUTANT))
    assert any(failures), f"{mutant} was not found: {MUTANTS[mutant].doc}"


def test_the_faults_are_made(scorer: HealthScorer) -> None:
    made: set[str] = set()
    for seed in range(20):
        made |= run_seed(seed, scorer).faults.keys()
    assert {"crash", "freeze", "fenced", "lost", "unanswered", "delay", "move", "store away", "broker away"} <= made


def test_a_seed_gives_the_same_schedule_in_every_process(scorer: HealthScorer) -> None:
    here = run_seed(5, scorer).trace
    assert len(here) > 20
    assert run_seed(5, scorer).trace == here
    command = [sys.executable, "-m", "tests.simulator", "--seed", "5", "-v"]
    there = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert zlib.crc32("\n".join(there[:-1]).encode()) == zlib.crc32("\n".join(here).encode())


def test_a_failure_says_how_to_see_it_again(scorer: HealthScorer) -> None:
    outcomes = (run_seed(seed, scorer, "no-dedupe") for seed in range(MOST_SEEDS_TO_FIND_A_MUTANT))
    failed = next(outcome for outcome in outcomes if outcome.failure)
    assert f"python -m tests.simulator --seed {failed.seed} --mutant no-dedupe -v" in failed.told()
