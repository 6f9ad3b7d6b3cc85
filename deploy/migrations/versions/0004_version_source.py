"""Where an imported version came from, and who imported it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("versions", sa.Column("source", sa.String(length=1024), nullable=True))
    op.add_column("versions", sa.Column("actor", sa.String(length=128), nullable=True))
