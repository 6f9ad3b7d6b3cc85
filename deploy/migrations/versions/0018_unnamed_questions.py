"""Corrections whose question nobody has named yet are found at once: a worker of an earlier release posts such."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    unnamed = sa.text("correction IS NOT NULL AND question_digest IS NULL")
    op.create_index("feedback_unnamed", "feedback", ["id"], sqlite_where=unnamed, postgresql_where=unnamed)


def downgrade() -> None:
    op.drop_index("feedback_unnamed", "feedback")
