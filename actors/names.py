"""Names by which actors are found, apart from their code: whoever asks for one need not import what it runs on."""

NAMESPACE = "vitanexus"
RELAY = "outbox-relay"
SUPERVISOR = "supervisor"


_SHARD = "shard-"


def shard_name(index: int, cluster: str = "") -> str:
    """The actor's name, which is also the owner's name on its leases. It ends in the name of its cluster, if any.

    A shard takes its own name's leases at once, so of two clusters beside each other no shards may share a name.
    """
    return f"{_SHARD}{index}.{cluster}" if cluster else f"{_SHARD}{index}"


def is_shard_of(name: str, cluster: str) -> bool:
    """Whether the shard is one of the cluster, or of one without a name where that is ""."""
    return name.partition(".")[2] == cluster


def is_shard(name: str) -> bool:
    """Whether an actor of this name is a shard."""
    return name.startswith(_SHARD)
