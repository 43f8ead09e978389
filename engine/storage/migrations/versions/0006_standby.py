"""A shard may stand by for the others."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """One more state."""
    op.drop_constraint("shards_state_check", "shards")
    op.create_check_constraint(
        "shards_state_check", "shards", "state IN ('joining', 'active', 'standby', 'drained', 'leaving')"
    )
