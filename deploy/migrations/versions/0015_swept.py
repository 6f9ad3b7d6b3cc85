"""When the files of pruned versions were deleted; open rollouts found without those that ended."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

OPEN = sa.text("slot IS NOT NULL")


def upgrade() -> None:
    op.add_column("versions", sa.Column("swept_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("rollouts_open", "rollouts", ["created_at"], sqlite_where=OPEN, postgresql_where=OPEN)


def downgrade() -> None:
    op.drop_index("rollouts_open", "rollouts")
    op.drop_column("versions", "swept_at")
