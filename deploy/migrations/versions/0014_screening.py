"""When a person accepted a correction that had waited: from then on it counts for the next run. And the screening part
of each policy where the learner reads it."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_TENANTS = sa.table("tenants", sa.column("id", sa.String), sa.column("policy", sa.JSON))
_LEARNING = sa.table("learning_policies", sa.column("tenant_id", sa.String), sa.column("document", sa.JSON))


def upgrade() -> None:
    op.add_column("feedback", sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True))
    connection = op.get_bind()
    query = sa.select(_TENANTS.c.id, _TENANTS.c.policy, _LEARNING.c.document)
    for row in connection.execute(query.join(_LEARNING, _LEARNING.c.tenant_id == _TENANTS.c.id)).all():
        told = row.document | {"screening": row.policy.get("screening", {})}
        mine = _LEARNING.c.tenant_id == row.id
        connection.execute(sa.update(_LEARNING).where(mine).values(document=told))


def downgrade() -> None:
    op.drop_column("feedback", "accepted_at")
