"""The main job: a month of events through Kafka into the shards, scores in PostgreSQL, answers over HTTP."""

import datetime as dt
import http.client
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from cluster.scoring_commands import run_batch
from cluster.stack.state import Endpoints
from engine.domain.events import SCORING_COMMAND, SourceEvent
from engine.domain.population import Population
from engine.errors import StackError, StreamError
from engine.finance.premium import MINIMUM_COHORT
from engine.interop import sources, synthetic
from engine.storage.queries import Queries
from engine.streams.producer import EventProducer

FIRST_DAY = dt.date(2025, 1, 1)
_REAL = {"fitabase": "fitbit_fitabase_2016", "tuva": "tuva_demo_100"}
_WAIT_SECONDS = 300.0
_POLL_SECONDS = 0.2
console = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the job saw. The check is that every event produced is one of the four that follow, and everyone scored.

    `pending` are held for a member who is not enrolled.
    """

    produced: int
    applied: int
    duplicates: int
    dead_letters: int
    pending: int
    members: int
    scored: int

    @property
    def holds(self) -> bool:
        """True where nothing was lost and every member has a score."""
        taken = self.applied + self.duplicates + self.dead_letters + self.pending
        return self.produced == taken and self.scored == self.members > 0


def run(endpoints: Endpoints, members: int, days: int, seed: int, data: Path | None) -> Outcome:
    """Runs the job on a stack that is up, and prints what came of it."""
    queries = Queries(endpoints.postgres, pool_size=2)
    events = _synthetic(members, days, seed) if data is None else _real(data)
    total = members * days * 10 if data is None else 0
    streaming = time.monotonic()
    produced = _stream(events, total, endpoints, queries)
    rate = produced / (time.monotonic() - streaming)
    run_batch(endpoints.kafka, queries, _batch_time(data, days))
    outcome = _outcome(produced, queries)
    _summary(outcome, queries, endpoints, rate)
    queries.close()
    return outcome


def _synthetic(members: int, days: int, seed: int) -> Iterator[SourceEvent]:
    population = Population.generate(seed, members)
    return synthetic.month(population, FIRST_DAY, days=days)


def _real(data: Path) -> Iterator[SourceEvent]:
    for source, folder in _REAL.items():
        yield from sources.read(source, data / folder)


def _batch_time(data: Path | None, days: int) -> dt.datetime:
    if data is not None:
        return dt.datetime.now(dt.UTC)
    return dt.datetime.combine(FIRST_DAY + dt.timedelta(days=days), dt.time(), dt.UTC)


def _stream(events: Iterator[SourceEvent], total: int, endpoints: Endpoints, queries: Queries) -> int:
    """Produces the events and waits until the shards have committed what became of each."""
    columns = (TextColumn("{task.description:<18}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with EventProducer(endpoints.kafka) as producer, Progress(*columns, console=console) as progress:
        sent = progress.add_task("events produced", total=total or None)
        done = progress.add_task("events committed", total=total or None)
        produced = 0
        for event in events:
            producer.send(event)
            produced += 1
            if produced % 5000 == 0:
                progress.update(sent, completed=produced)
            if produced % 50_000 == 0:
                progress.update(done, completed=_committed(queries))
        producer.flush()
        progress.update(sent, completed=produced, total=produced)
        _wait_for(produced, queries, progress, done)
    return produced


def _wait_for(produced: int, queries: Queries, progress: Progress, task: TaskID) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    progress.update(task, total=produced)
    while (committed := _committed(queries)) < produced:
        progress.update(task, completed=committed)
        if time.monotonic() > deadline:
            raise StreamError(
                f"{produced - committed} of {produced} events are not committed after {_WAIT_SECONDS:g} s"
            )
        time.sleep(_POLL_SECONDS)
    progress.update(task, completed=committed)


def _committed(queries: Queries) -> int:
    rows = [row for row in queries.consumed() if row.topic != SCORING_COMMAND.topic]
    return sum(row.taken for row in rows)


def _outcome(produced: int, queries: Queries) -> Outcome:
    rows = [row for row in queries.consumed() if row.topic != SCORING_COMMAND.topic]
    members, scored = queries.scored_members()
    return Outcome(
        produced,
        sum(row.applied for row in rows),
        sum(row.duplicates for row in rows),
        sum(row.dead_letters for row in rows),
        sum(row.pending for row in rows),
        members,
        scored,
    )


def _ask(url: str, body: dict[str, object] | None = None) -> dict[str, Any]:
    host = urlsplit(url)
    connection = http.client.HTTPConnection(host.hostname or "", host.port, timeout=30)
    try:
        data = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", host.path, data, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer: dict[str, Any] = json.load(response)
    finally:
        connection.close()
    if response.status != 200:
        raise StackError(f"{url} answered {response.status}: {answer.get('detail', answer)}")
    return answer


def _summary(outcome: Outcome, queries: Queries, endpoints: Endpoints, rate: float) -> None:
    counts = Table("topic", "applied", "duplicates", "dead letters", "pending", title="what became of the events")
    for row in queries.consumed():
        counts.add_row(row.topic, *(f"{n:,}" for n in (row.applied, row.duplicates, row.dead_letters, row.pending)))
    console.print(counts)
    console.print(f"{rate:,.0f} events/s from the producer into PostgreSQL")
    reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(queries.dead_letter_reasons().items()))
    console.print(f"dead letters: {reasons or 'none'}")
    shares = queries.categories()
    console.print("members by risk category: " + ", ".join(f"{name} {shares.get(name, 0):,}" for name in _ORDER))
    _show_score(queries.riskiest_member(), endpoints)
    _show_premium(queries, endpoints)


_ORDER = ("Low", "Moderate", "High", "Critical")


def _show_score(member_id: str, endpoints: Endpoints) -> None:
    score = _ask(f"{endpoints.http}/v1/members/{member_id}/score")
    cost = score["predicted_annual_cost"]
    console.print(
        f"GET /v1/members/{member_id}/score: {score['score']:.1f} {score['category']}, predicted cost "
        f"${cost['mean']:,.0f} (90 %: ${cost['lower_90']:,.0f} to ${cost['upper_90']:,.0f}), model "
        f"{score['model_version']}, answered by {score['answered_by']}"
    )
    for factor in score["risk_factors"]:
        size = "" if factor["dollars"] is None else f" by ${abs(factor['dollars']):,.0f} a year"
        console.print(f"    {factor['label']} ({factor['value']} {factor['unit']}) {factor['direction']} it{size}")
    console.print(f"    recommended: {', '.join(entry['title'] for entry in score['interventions'])}")


def _show_premium(queries: Queries, endpoints: Endpoints) -> None:
    cohorts = [cohort for cohort in queries.cohorts() if cohort[2] >= MINIMUM_COHORT]
    if not cohorts:
        console.print(f"no cohort has the {MINIMUM_COHORT} members a premium recommendation needs")
        return
    cohort_id, line, size = cohorts[0]
    body = {
        "cohort_id": cohort_id,
        "base_premium": "512.40",
        "health_improvement_factor": "0.03",
        "utilisation_factor": "0.015",
        "regional_cost_index": "1.02",
        "effective_date": (FIRST_DAY + dt.timedelta(days=365)).isoformat(),
    }
    premium = _ask(f"{endpoints.http}/v1/premiums/recommendation", body)
    console.print(
        f"POST /v1/premiums/recommendation: cohort {cohort_id} ({line}, {size} members), $512.40 -> "
        f"${premium['recommended_premium']} = base x {premium['health_factor']} x {premium['utilisation_factor']} x "
        f"{premium['regional_factor']}; rate review: {'yes' if premium['rate_review'] else 'no'}"
    )
