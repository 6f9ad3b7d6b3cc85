"""Alembic's entry: one history over the four packages' tables.

A new revision: `alembic -c deploy/migrations/alembic.ini -x url=sqlite:///scratch.db revision
--autogenerate -m "..."` against a database that is at the last revision.
"""

import sqlalchemy as sa
from alembic import context

from adapters.tables import metadata as adapters
from gateway.tables import metadata as gateway
from retrieval.tables import metadata as retrieval
from training.tables import metadata as training

METADATA = [gateway, adapters, retrieval, training]


def migrate(connection: sa.Connection) -> None:
    """Batch mode lets SQLite alter tables by copying them."""
    context.configure(connection=connection, target_metadata=METADATA, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


def run() -> None:
    given = context.config.attributes.get("connection")
    if given is not None:
        migrate(given)
        return
    with sa.create_engine(context.get_x_argument(as_dictionary=True)["url"]).begin() as connection:
        migrate(connection)


run()
