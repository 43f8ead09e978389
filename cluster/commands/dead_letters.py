"""`vitanexus dead-letters`: the events that were refused, and how to send them again."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cluster.commands.stack import DEFAULT, Directory

dead_letters = typer.Typer(help="Events that were refused: see why, and send them again.", no_args_is_help=True)
_console = Console(highlight=False)
Why = Annotated[str, typer.Option("--reason", help="only those refused for this reason, such as unknown_member")]
Topic = Annotated[str, typer.Option(help="only those of this topic")]


@dead_letters.command("list")
def list_letters(
    reason: Why = "",
    topic: Topic = "",
    limit: Annotated[int, typer.Option(min=1, help="how many to show")] = 50,
    again: Annotated[bool, typer.Option("--all", help="also those that were sent again already")] = False,
    directory: Directory = DEFAULT,
) -> None:
    """Show where each refused event lies, why it was refused and when. Payloads hold health data and are not shown.

    Example: vitanexus dead-letters list --reason unknown_member
    """
    from cluster.bootstrap import connect
    from engine.storage.dead_letters import DeadLetters

    store = DeadLetters(connect(directory, "postgres").postgres, pool_size=1)
    found = store.find(reason, topic, limit, again)
    table = Table("topic", "partition", "offset", "reason", "field", "bytes", "refused (UTC)", "sent again")
    for letter in found:
        place = letter.topic, str(letter.partition), str(letter.kafka_offset)
        sent = "" if letter.replayed_at is None else f"{letter.replayed_at:%Y-%m-%d %H:%M}"
        when = f"{letter.recorded_at:%Y-%m-%d %H:%M}"
        table.add_row(*place, letter.reason, letter.field, f"{letter.payload_bytes:,}", when, sent)
    _console.print(table)
    if len(found) == limit:
        typer.echo(f"the first {limit}: --limit shows more")


@dead_letters.command("replay")
def replay_letters(
    reason: Why = "",
    topic: Topic = "",
    directory: Directory = DEFAULT,
) -> None:
    """Send refused events to their topic again, each once, after their cause was put right.

    An event that is still wrong becomes a new dead letter; one that was applied meanwhile is a duplicate.
    Example: vitanexus dead-letters replay --reason unknown_member
    """
    from cluster.bootstrap import connect
    from cluster.dead_letters import replay
    from engine.storage.dead_letters import DeadLetters

    if not reason and not topic:
        raise typer.BadParameter("say which: a --reason, a --topic, or both", param_hint="--reason")
    endpoints = connect(directory, "postgres", "kafka")
    store = DeadLetters(endpoints.postgres, pool_size=1)
    letters = store.find(reason, topic)
    lost = replay(endpoints.kafka, store, letters)
    typer.echo(f"{len(letters) - len(lost):,} dead letters sent again")
    for letter in lost:
        place = f"{letter.topic} partition {letter.partition} offset {letter.kafka_offset}"
        typer.echo(f"not sent: {place}: {letter.payload_bytes:,} bytes, of which the log holds none any more")
