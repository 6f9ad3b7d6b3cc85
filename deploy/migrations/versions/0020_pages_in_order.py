"""A page of feedback, of reviews or of a tenant's runs is read in its order, and not found among all."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("feedback_by_age", "feedback", ["tenant_id", "created_at", "id"])
    op.create_index("feedback_by_status", "feedback", ["tenant_id", "status", "created_at", "id"])
    op.drop_index("feedback_by_response", "feedback")
    op.create_index("feedback_by_response", "feedback", ["tenant_id", "response_id", "created_at", "id"])
    op.drop_index("runs_by_tenant", "runs")
    op.create_index("runs_by_tenant", "runs", ["tenant_id", "created_at", "id"])
    op.create_index("runs_by_adapter", "runs", ["tenant_id", "adapter", "created_at", "id"])


def downgrade() -> None:
    op.drop_index("runs_by_adapter", "runs")
    op.drop_index("runs_by_tenant", "runs")
    op.create_index("runs_by_tenant", "runs", ["tenant_id", "adapter", "created_at"])
    op.drop_index("feedback_by_response", "feedback")
    op.create_index("feedback_by_response", "feedback", ["response_id"])
    op.drop_index("feedback_by_status", "feedback")
    op.drop_index("feedback_by_age", "feedback")
