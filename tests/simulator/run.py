"""A seed's outcome: whether it failed, how, and how to see it again."""

from dataclasses import dataclass

from engine.scoring.health_score import HealthScorer
from tests.simulator.mutants import MUTANTS
from tests.simulator.schedule import Schedule


@dataclass(frozen=True)
class Outcome:
    """What became of a schedule. `failure` is empty where all was well."""

    seed: int
    mutant: str
    failure: str
    trace: list[str]
    faults: dict[str, int]

    def told(self) -> str:
        """The failure, and the command that shows it again."""
        broken = f" --mutant {self.mutant}" if self.mutant else ""
        return f"seed {self.seed}: {self.failure}\nagain: python -m tests.simulator --seed {self.seed}{broken} -v"


def run_seed(seed: int, scorer: HealthScorer, mutant: str | None = None) -> Outcome:
    """Runs the schedule of a seed, with the code broken where a mutant is named."""
    schedule = Schedule(seed, scorer, MUTANTS[mutant] if mutant else None)
    failure = ""
    try:
        schedule.run()
    except Exception as error:  # noqa: BLE001 - every way to fail is a finding
        failure = f"{type(error).__name__}: {error}"
    return Outcome(seed, mutant or "", failure, schedule.world.trace, schedule.world.counts)
