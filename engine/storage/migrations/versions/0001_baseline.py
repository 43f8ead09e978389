"""The first schema."""

from pathlib import Path

from alembic import op

from engine.storage import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    schema.apply(op.get_bind(), Path(__file__).with_suffix(".sql").read_text())
