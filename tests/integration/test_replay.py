"""Real files through a real broker into two shards: every count, every state and every score against the oracle."""

import datetime as dt
import threading

from actors.ports import live
from actors.shard_loop import ShardLoop
from engine.interop.sources import read
from engine.scoring.health_score import HealthScorer
from engine.streams.producer import EventProducer
from engine.streams.topics import PARTITIONS
from tests.conftest import shared_data
from tests.shard_process import check_all, plan, settle
from tests.waiting import PATIENCE

AS_OF_MS = int(dt.datetime(2019, 1, 1, tzinfo=dt.UTC).timestamp() * 1000)


def test_real_files_become_the_oracles_state_and_scores(
    any_bootstrap: str, database: str, scorer: HealthScorer
) -> None:
    sources = {"fitabase": shared_data("fitbit_fitabase_2016"), "tuva": shared_data("tuva_demo_100")}
    plans = [plan(f"shard-{i}", database, any_bootstrap, range(i, PARTITIONS, 2), poll_records=5000) for i in range(2)]
    shards = [ShardLoop(work, lambda _: scorer, live(work)) for work in plans]
    threads = [threading.Thread(target=shard.run) for shard in shards]
    for thread in threads:
        thread.start()
    try:
        with EventProducer(any_bootstrap) as producer:
            produced = sum(producer.send_all(read(name, folder)) for name, folder in sources.items())
            again = list(read("tuva", sources["tuva"]))[::10]
            produced += producer.send_all(again)
        settle(database, any_bootstrap, AS_OF_MS)
    finally:
        for shard in shards:
            shard.stop()
        for thread in threads:
            thread.join(PATIENCE)
    assert all(shard.finished for shard in shards)
    expected = check_all(database, any_bootstrap, scorer)
    total = expected.total()
    assert total.applied + total.duplicates + total.dead_letters == produced + PARTITIONS
    assert len(expected.members) == 133
    assert total.duplicates >= len(again)
    assert total.applied > 50_000
