"""Rows are counted, and tokens budgeted, with 64 bits in PostgreSQL too."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

COUNTED = ("alias_history", "audit", "changes", "outbox", "rollout_decisions", "run_events")


def upgrade() -> None:
    _retype("bigint", sa.BigInteger())


def downgrade() -> None:
    _retype("integer", sa.Integer())


def _retype(name: str, kind: sa.types.TypeEngine[int]) -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    for table in COUNTED:
        op.alter_column(table, "id", type_=kind)
        op.execute(f"ALTER SEQUENCE {table}_id_seq AS {name}")
    op.alter_column("rollouts", "budget_tokens", type_=kind)
