"""Applies the Alembic migrations to a database. Alembic is imported where it works: most only connect."""

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from engine.errors import StorageError
from engine.storage.turns import Turn

if TYPE_CHECKING:
    from alembic.config import Config

_SCRIPTS = Path(__file__).parent / "migrations"


def core_url(url: str) -> str:
    """The PostgreSQL URL in SQLAlchemy's form, through psycopg 3."""
    scheme, separator, rest = url.partition("://")
    if scheme not in ("postgresql", "postgres") or not separator:
        raise StorageError(f"postgres URL {url.split('@')[-1]!r} must begin with postgresql://")
    return f"postgresql+psycopg://{rest}"


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.set_main_option("path_separator", "os")
    return config


def migrate(url: str) -> tuple[str | None, str | None]:
    """Brings the database at `url` to the newest revision; returns the revision before and after.

    Idempotent; an advisory lock makes concurrent callers take turns. Raises StorageError when the server is away.
    """
    from alembic import command
    from alembic.runtime.migration import MigrationContext

    engine = sa.create_engine(core_url(url), poolclass=sa.NullPool)
    config = _config()
    try:
        with engine.connect() as connection, connection.begin():
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": Turn.MIGRATION.value})
            before = MigrationContext.configure(connection).get_current_revision()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            after = MigrationContext.configure(connection).get_current_revision()
    except sa.exc.OperationalError as error:
        raise StorageError(f"cannot migrate: PostgreSQL does not answer: {error.orig}") from error
    finally:
        engine.dispose()
    return before, after


def is_current(connection: sa.Connection) -> bool:
    """True where the database stands at the newest revision."""
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    head = ScriptDirectory.from_config(_config()).get_current_head()
    return MigrationContext.configure(connection).get_current_revision() == head
