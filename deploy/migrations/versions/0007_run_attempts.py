"""Runs that are tried again, take turns between tenants, and are one per adapter by the database's own rule."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ACTIVE = sa.text("status IN ('queued', 'running')")


def upgrade() -> None:
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("attempts", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("not_before", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("started_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "runs_one_per_adapter",
        "runs",
        ["tenant_id", "adapter"],
        unique=True,
        sqlite_where=ACTIVE,
        postgresql_where=ACTIVE,
    )


def downgrade() -> None:
    op.drop_index("runs_one_per_adapter", "runs")
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_column("started_at")
        batch_op.drop_column("not_before")
        batch_op.drop_column("attempts")
