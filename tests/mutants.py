"""Shards with one safeguard taken out: each must make a fault test fail, or that test proves nothing.

Each function breaks the process it is called in.
"""

from functools import partial

import psycopg

from actors.pace import ShardPlan
from engine.domain.tables import TABLE
from engine.storage.copy import copy_rows
from engine.storage.score_rows import model_set_of, placed
from engine.storage.shards import ShardStore
from engine.streams.judged import JudgedReadings
from engine.streams.processor import Processor


def without_fence(work: ShardPlan) -> None:
    """Neither a commit nor a look at the assignment asks whether the shard is still who it was."""
    ShardStore._hold = lambda self, cursor, partitions: None
    ShardStore.assigned = lambda self, held, members, behind: list(work.partitions)


def without_suppression(work: ShardPlan) -> None:
    """What a replay makes is written once more."""
    process = Processor.process

    def writing(self: Processor, *args, replaying: bool = False, **others):
        commits = process(self, *args, replaying=replaying, **others)
        if replaying:
            with psycopg.connect(work.postgres_url) as connection, connection.cursor() as cursor:
                for commit in commits:
                    for made_for in ("readings", "scores"):
                        if len(commit.rows.get(made_for, ())):
                            number = partial(model_set_of, connection)
                            table, columns = placed(made_for, commit.rows[made_for].columns, number)
                            copy_rows(cursor, TABLE[table], [columns])
        return commits

    Processor.process = writing


def without_duplicates(work: ShardPlan) -> None:
    """No reading has ever been seen before. The other kinds have a unique key in PostgreSQL behind the window."""
    drop = Processor._drop_duplicates

    def seeing_none(self: Processor, state, part, replaying: bool) -> None:
        if not isinstance(part, JudgedReadings):
            drop(self, state, part, replaying)

    Processor._drop_duplicates = seeing_none
