"""Versions that are pinned into the engines, and those whose files were pruned."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pins",
        sa.Column("version_id", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("version_id"),
    )
    with op.batch_alter_table("versions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("pruned_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.create_index("versions_by_artifact", ["artifact_digest"], unique=False)
    with op.batch_alter_table("aliases", schema=None) as batch_op:
        batch_op.create_index("aliases_by_version", ["version_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("aliases", schema=None) as batch_op:
        batch_op.drop_index("aliases_by_version")
    with op.batch_alter_table("versions", schema=None) as batch_op:
        batch_op.drop_index("versions_by_artifact")
        batch_op.drop_column("pruned_at")
    op.drop_table("pins")
