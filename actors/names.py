"""Names by which actors are found, apart from their code: whoever asks for one need not import what it runs on."""

NAMESPACE = "vitanexus"
RELAY = "outbox-relay"


def shard_name(index: int) -> str:
    """The actor's name, which is also the owner's name on its leases."""
    return f"shard-{index}"
