"""Feedback that is edited, reviewed and repeated; what an interaction's answer was made of."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("feedback", schema=None) as batch_op:
        batch_op.add_column(sa.Column("trusted", sa.Boolean(), nullable=False, server_default=sa.true()))
        batch_op.add_column(sa.Column("correction_message", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("replaces", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("request_digest", sa.String(length=64), nullable=True))
    with op.batch_alter_table("interactions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("detail", sa.JSON(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("interactions", schema=None) as batch_op:
        batch_op.drop_column("detail")
    with op.batch_alter_table("feedback", schema=None) as batch_op:
        for name in ("request_digest", "replaces", "correction_message", "trusted"):
            batch_op.drop_column(name)
