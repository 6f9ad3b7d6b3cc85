"""What is found by an index, and not by reading the whole record: the corrections that a post is screened against, the
newest versions and those that continue one, the newest runs."""

import sqlalchemy as sa
from alembic import op

from training.feedback_rows import name_questions

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("feedback", sa.Column("question_digest", sa.String(length=64), nullable=True))
    name_questions(op.get_bind())
    question = ["tenant_id", "adapter", "question_digest", "status"]
    op.create_index("feedback_by_question", "feedback", question)
    contributor = ["tenant_id", "adapter", "trusted", "status", "user", "author", "question_digest"]
    op.create_index("feedback_by_contributor", "feedback", contributor)
    op.create_index("versions_by_parent", "versions", ["parent_id"])
    op.create_index("versions_by_age", "versions", ["base_digest", "created_at", "id"])
    op.create_index("runs_by_age", "runs", ["created_at", "id"])
    op.drop_index("runs_by_status", "runs")
    op.create_index("runs_by_status", "runs", ["status", "created_at", "id"])


def downgrade() -> None:
    op.drop_index("runs_by_status", "runs")
    op.create_index("runs_by_status", "runs", ["status"])
    op.drop_index("runs_by_age", "runs")
    op.drop_index("versions_by_age", "versions")
    op.drop_index("versions_by_parent", "versions")
    op.drop_index("feedback_by_contributor", "feedback")
    op.drop_index("feedback_by_question", "feedback")
    op.drop_column("feedback", "question_digest")
