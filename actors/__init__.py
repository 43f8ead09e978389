"""Ray actors and tasks: member shards, the outbox relay, training."""
