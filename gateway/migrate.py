"""Brings a database to this version's schema. Run by `graft up` before anything else touches the database,
and by
`graft migrate` where the database is a fleet's."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from adapters.database import connect

MIGRATIONS = Path(__file__).parents[1] / "deploy" / "migrations"


def config(connection: sa.Connection | None = None) -> Config:
    """Alembic's configuration, without a file: the scripts' place and the connection to use."""
    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS))
    made.set_main_option("path_separator", "os")
    made.attributes["connection"] = connection
    return made


async def upgrade(database_url: str) -> None:
    """Apply every migration that is missing, in one transaction."""
    engine = connect(database_url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _upgrade(connection: sa.Connection) -> None:
    command.upgrade(config(connection), "head")
