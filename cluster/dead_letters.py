"""Sends dead letters again, once what refused them is put right: the member enrolled, the schema known, the clock."""

import contextlib
from collections.abc import Sequence

import msgspec

from engine.domain.events import SCORING_COMMAND
from engine.errors import StreamError
from engine.storage.dead_letters import DeadLetter, DeadLetters
from engine.streams.producer import EventProducer
from engine.streams.reader import KafkaReader
from engine.streams.topics import identities, partition_of

_TRIES, _POLL_MS = 10, 500


class _Addressed(msgspec.Struct):
    """What of an event tells where it belongs."""

    member_id: str


def replay(bootstrap: str, store: DeadLetters, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
    """Sends the letters to the partitions of their members and marks them; returns those whose payload is lost.

    A payload that was longer than what is kept is read from the log again. A crash between sending and marking sends a
    letter twice, and the shard drops the second by its (source, event_id). Raises StreamError while the broker is away.
    """
    cluster = next(iter(identities(bootstrap).values())).cluster_id
    lost: list[DeadLetter] = []
    sent: list[DeadLetter] = []
    with EventProducer(bootstrap) as producer:
        for letter in letters:
            payload = letter.payload if letter.whole else None
            if payload is None and letter.cluster_id == cluster:
                payload = _from_log(bootstrap, letter)
            if payload is None:
                lost.append(letter)
                continue
            key, partition = _address(letter, payload)
            producer.send_bytes(letter.topic, key, payload, partition)
            sent.append(letter)
        producer.flush()
    store.mark_replayed(sent)
    return lost


def _address(letter: DeadLetter, payload: bytes) -> tuple[str, int]:
    """Key and partition: the member's own, or the letter's where the payload names no member."""
    if letter.topic != SCORING_COMMAND.topic:
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            member = msgspec.json.decode(payload, type=_Addressed).member_id
            return member, partition_of(member)
    return f"{letter.topic}-{letter.partition}", letter.partition


def _from_log(bootstrap: str, letter: DeadLetter) -> bytes | None:
    """The letter's whole payload as its log has it; None where retention has dropped it."""
    place = (letter.topic, letter.partition)
    reader = KafkaReader(bootstrap, "dead-letters")
    try:
        if reader.begin_offsets([place])[place] > letter.kafka_offset:
            return None
        reader.assign({place: letter.kafka_offset})
        for _ in range(_TRIES):
            for batch in reader.poll(1, _POLL_MS):
                for i in range(len(batch)):
                    if batch.offsets[i] == letter.kafka_offset:
                        return batch.value(i)
                if batch.next_offset > letter.kafka_offset:
                    return None
    finally:
        reader.close()
    raise StreamError(f"the broker does not deliver {letter.topic}-{letter.partition} at offset {letter.kafka_offset}")
