"""Brings a database to this version's schema. Run by `graft up` before anything else touches the database,
and by
`graft migrate` where the database is a fleet's."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.database import connect, hold
from gateway.launch_errors import LaunchError

MIGRATIONS = Path(__file__).parents[1] / "deploy" / "migrations"


def config(connection: sa.Connection | None = None) -> Config:
    """Alembic's configuration, without a file: the scripts' place and the connection to use."""
    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS))
    made.set_main_option("path_separator", "os")
    made.attributes["connection"] = connection
    return made


async def upgrade(database_url: str) -> None:
    """Apply every migration that is missing, in one transaction, one process at a time. Raises LaunchError."""
    engine = connect(database_url)
    try:
        await _reach(engine)
        async with engine.begin() as connection:
            await hold(connection, "migrations")
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


async def _reach(engine: AsyncEngine) -> None:
    try:
        async with engine.connect():
            pass
    except OperationalError as error:
        raise LaunchError(
            f"The record cannot be opened: {error.orig}",
            fix="Start the database, or correct GRAFT_DATABASE_URL.",
        ) from error


def _upgrade(connection: sa.Connection) -> None:
    command.upgrade(config(connection), "head")
