"""Runs are cancelled at once, so that none is asked to stop any more."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("UPDATE runs SET status = 'cancelled' WHERE cancel_requested AND status = 'running'")
    op.drop_column("runs", "cancel_requested")


def downgrade() -> None:
    op.add_column(
        "runs", sa.Column("cancel_requested", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
