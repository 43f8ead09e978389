"""Boards of scores: what is read is what the shard wrote last, whole, while it holds; anything else is asked for."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from actors.score_board import (
    _HEADER_BYTES,
    LIVE_SECONDS,
    SLOT_BYTES,
    BoardReader,
    RowsOf,
    ScoreBoard,
    _hash_of,
    open_board,
)
from engine.domain.batch import RealLists, Rows, TextColumn, TextLists
from engine.domain.events import SELF_REPORT
from engine.streams.judged import JudgedEvents
from engine.streams.records import RecordBatch
from engine.streams.topics import PARTITIONS, partition_of

ALL = tuple(range(PARTITIONS))


def row(member_id: str, score: float, reasons: int = 300) -> dict[str, object]:
    """A row of the score history; everything in it follows from `score`, so that a torn one is seen."""
    values = dict.fromkeys(("as_of", "category", "predicted_cost", "components", "model_version", "seq"))
    return values | {"member_id": member_id, "score": score, "risk_factors": (b"%d;" % int(score)) * reasons}


def scored(*rows: dict[str, object]) -> list[tuple[TextColumn, RowsOf]]:
    """What a batch says of the members it scored."""

    def rows_of(which: np.ndarray) -> Rows:
        n = len(which)
        nothing = RealLists(np.empty(0), np.zeros(n, np.int64))
        lists = {name: TextLists((), np.empty(0, np.int64), nothing.ends) for name in ("risk_factors", "hccs")}
        numbers = {name: np.full(n, np.nan) for name in ("predicted_cost", "cost_lower_90", "cost_upper_90", "news2")}
        columns = {
            "member_id": TextColumn.of([str(rows[i]["member_id"]) for i in which]),
            "score": np.array([rows[i]["score"] for i in which]),
            **numbers,
            **lists,
            **dict.fromkeys(("factor_dollars", "factor_values"), nothing),
        }
        return Rows(columns)

    return [(TextColumn.of([str(each["member_id"]) for each in rows]), rows_of)]


class Told:
    """An event as far as a board looks at it."""

    def __init__(self, member_id: str) -> None:
        self.member_id = member_id


@pytest.fixture
def board(tmp_path: Path) -> Iterator[ScoreBoard]:
    made = ScoreBoard(tmp_path, "shard-0", ALL, 1)
    made.put("M0", row("M0", 0.0))  # kernels are loaded with the first
    made.beat(time.monotonic() + 60)
    yield made
    made.close()


def test_a_score_is_read_as_it_was_put(board: ScoreBoard, tmp_path: Path) -> None:
    board.put("M1", row("M1", 41.5))
    reader = BoardReader(str(tmp_path))
    found = reader.read("M1")
    assert found is not None and found[0] == row("M1", 41.5) and 0 <= found[1] < LIVE_SECONDS
    assert reader.read("M2") is None


def test_a_board_is_believed_only_while_its_shard_says_so(board: ScoreBoard, tmp_path: Path) -> None:
    board.put("M1", row("M1", 41.5))
    reader = BoardReader(str(tmp_path))
    assert reader.read("M1")
    board.beat(time.monotonic() - 0.001)  # the lease is no longer certain
    assert reader.read("M1") is None
    board.beat(time.monotonic() + 60)
    time.sleep(0.25)
    assert reader.read("M1")
    time.sleep(LIVE_SECONDS + 0.05)  # it hangs
    assert reader.read("M1") is None


def test_a_batch_rewrites_what_is_shown_and_wipes_what_it_touches_unscored(board: ScoreBoard, tmp_path: Path) -> None:
    reader = BoardReader(str(tmp_path))
    for member in ("M1", "M2", "M3", "M4"):
        board.put(member, row(member, 10.0))
    log = RecordBatch.of(SELF_REPORT.topic, 0, [], [], [], 1)
    touched = JudgedEvents(SELF_REPORT, log, [], events=[Told("M2"), Told("M3")])
    board.batch([touched], scored(row("M1", 20.0), row("M9", 90.0), row("M2", 30.0)))
    assert reader.read("M1")[0]["score"] == 20.0
    assert reader.read("M2")[0]["score"] == 30.0
    assert reader.read("M3") is None
    assert reader.read("M4")[0]["score"] == 10.0
    assert reader.read("M9") is None  # nobody has asked for it


def test_members_of_one_slot_are_never_taken_for_each_other(tmp_path: Path) -> None:
    board = ScoreBoard(tmp_path, "shard-0", ALL, 0)  # one slot
    board.beat(time.monotonic() + 60)
    reader = BoardReader(str(tmp_path))
    for i in range(50):
        board.put(f"M{i}", row(f"M{i}", float(i)))
        assert reader.read(f"M{i}")[0]["score"] == float(i)
        assert all(reader.read(f"M{j}") is None for j in range(i))
    board.close()


def test_a_row_too_long_for_a_slot_takes_the_older_one_away(board: ScoreBoard, tmp_path: Path) -> None:
    reader = BoardReader(str(tmp_path))
    board.put("M1", row("M1", 1.0))
    board.put("M1", row("M1", 2.0, reasons=SLOT_BYTES))
    assert reader.read("M1") is None


def test_the_newest_owner_of_a_partition_answers(tmp_path: Path) -> None:
    old, new = (ScoreBoard(tmp_path, name, ALL, 1) for name in ("shard-1", "shard-0"))
    for made, score in ((old, 1.0), (new, 2.0)):
        made.beat(time.monotonic() + 60)
        made.put("M1", row("M1", score))
    reader = BoardReader(str(tmp_path))
    assert reader.read("M1")[0]["score"] == 2.0
    again = ScoreBoard(tmp_path, "shard-0", ALL, 1)  # the shard died and recovers under the same name
    new.beat(0.0)
    old.beat(0.0)
    time.sleep(0.25)
    assert reader.read("M1") is None
    again.beat(time.monotonic() + 60)
    again.put("M1", row("M1", 3.0))
    time.sleep(0.25)
    assert reader.read("M1")[0]["score"] == 3.0


def test_a_member_of_another_shards_partition_is_not_on_the_board(tmp_path: Path) -> None:
    others = tuple(p for p in ALL if p != partition_of("M1"))
    board = ScoreBoard(tmp_path, "shard-0", others, 1)
    board.beat(time.monotonic() + 60)
    board.put("M1", row("M1", 1.0))
    assert BoardReader(str(tmp_path)).read("M1") is None


def test_a_partition_given_up_is_no_longer_spoken_of(board: ScoreBoard, tmp_path: Path) -> None:
    reader, kept = (
        BoardReader(str(tmp_path)),
        next(f"M{i}" for i in range(99) if partition_of(f"M{i}") != partition_of("M1")),
    )
    for member in ("M1", kept):
        board.put(member, row(member, 1.0))
        assert reader.read(member)
    board.own(frozenset(ALL) - {partition_of("M1")})
    assert reader.read("M1") is None
    board.own(frozenset(ALL))
    assert reader.read("M1") is None  # it has come back, and may have changed elsewhere
    board.put(kept, row(kept, 2.0))
    time.sleep(0.25)
    assert reader.read(kept)[0]["score"] == 2.0


def test_no_room_or_no_folder_is_no_board(tmp_path: Path) -> None:
    assert open_board("", "shard-0", ALL, 1) is None
    assert open_board(str(tmp_path), "shard-0", ALL, 0) is None
    assert open_board(str(tmp_path), "shard-0", ALL, 2**40) is None
    assert BoardReader("").read("M1") is None
    assert BoardReader(str(tmp_path / "absent")).read("M1") is None


WRITER = """
import sys, time
from pathlib import Path
from actors.score_board import ScoreBoard
from tests.unit.actors.test_score_board import ALL, row
board = ScoreBoard(Path(sys.argv[1]), "shard-0", ALL, 0)
score = 0
board.put("M1", row("M1", 0.0, reasons=40))  # kernels are loaded with the first
print("writing", flush=True)
while True:
    board.beat(time.monotonic() + 60)
    score += 1
    board.put("M1", row("M1", float(score), reasons=40 + score % 300))
"""


def test_a_reader_never_sees_half_a_score_and_a_killed_shard_is_not_believed(tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout is not None and writer.stdout.readline() == "writing\n"
        reader, seen, last = BoardReader(str(tmp_path)), 0, 0.0
        until = time.monotonic() + 3
        while time.monotonic() < until:
            found = reader.read("M1")
            if found is not None:
                score = found[0]["score"]
                assert found[0] == row("M1", score, reasons=40 + int(score) % 300)
                assert score >= last
                seen, last = seen + 1, score
        assert seen > 100 and last > 100
        writer.kill()
        writer.wait()
        time.sleep(LIVE_SECONDS + 0.05)
        assert reader.read("M1") is None
    finally:
        writer.kill()
        writer.wait()


def test_a_slot_whose_head_is_half_written_is_no_score(tmp_path: Path) -> None:
    """The words of a head reach memory one after the other: a reader may see the key and not yet the length."""
    board = ScoreBoard(tmp_path, "shard-0", ALL, 1)
    board.beat(time.monotonic() + 60)
    board.put("M1", row("M1", 1.0))
    reader = BoardReader(str(tmp_path))
    assert reader.read("M1")
    key = _hash_of("M1")
    board._mark(board._at(key), 4, key, 0, 0)
    assert reader.read("M1") is None
    board.close()


def test_the_header_has_room(tmp_path: Path) -> None:
    board = ScoreBoard(tmp_path, "shard-0", ALL, 1)
    assert (tmp_path / "shard-0.board").stat().st_size == _HEADER_BYTES + 2**20
    assert (tmp_path / "shard-0.board").stat().st_mode & 0o077 == 0
    board.close()
    assert not list(tmp_path.iterdir())
