"""The overview read again and again, in a terminal or as JSON."""

import json
import time
from collections.abc import Callable

import typer
from rich.console import Console
from rich.live import Live

from cluster.observability.overview import document, tables
from cluster.observability.scrape import Reading, scrape, session_of, targets
from cluster.stack.state import StackState
from engine.settings import load_shard_scaling

Source = Callable[[], Reading]
_WIDTH = 120
_FIRST_SECONDS = 1.0


def source(state: StackState | None) -> Source:
    """Readings of a local stack, or of this machine's Ray where there is none. They may raise StackError."""
    pid = None if state is None else state.supervisor.pid

    def read() -> Reading:
        samples, _ = scrape(targets(session_of(pid)))
        return Reading(samples, time.monotonic())

    return read


def show(read: Source, watch: bool, as_json: bool, every: float) -> None:
    """Prints the overview once, or keeps it up to date until interrupted."""
    scaling = load_shard_scaling()
    before: Reading | None = None
    console = Console(highlight=False)
    if console.width < _WIDTH:
        console = Console(highlight=False, width=_WIDTH)
    now = read()
    if as_json:
        time.sleep(_FIRST_SECONDS)
        before, now = now, read()
        typer.echo(json.dumps(document(now, before, *scaling), indent=1))
        return
    if not watch:
        console.print(tables(document(now, None, *scaling)))
        return
    with Live(tables(document(now, None, *scaling)), console=console, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(every)
                before, now = now, read()
                live.update(tables(document(now, before, *scaling)), refresh=True)
        except KeyboardInterrupt:
            return
