"""What a corrected request offered beside its messages: it is part of the prompt that is learned from."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("feedback", sa.Column("tools", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("feedback", "tools")
