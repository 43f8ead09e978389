"""Alembic migrations. The scripts are frozen: a change of the record tables needs a new one."""
