"""When the files of pruned versions were deleted; open rollouts found without those that ended.

Files were looked for during two days after a version was pruned: of what was pruned earlier they are gone.
"""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

OPEN = sa.text("slot IS NOT NULL")
_LOOKED_FOR = timedelta(days=2)
_TIME = sa.DateTime(timezone=True)
_VERSIONS = sa.table("versions", sa.column("pruned_at", _TIME), sa.column("swept_at", _TIME))


def upgrade() -> None:
    op.add_column("versions", sa.Column("swept_at", sa.DateTime(timezone=True), nullable=True))
    long_gone = _VERSIONS.c.pruned_at < datetime.now(UTC) - _LOOKED_FOR
    op.execute(sa.update(_VERSIONS).where(long_gone).values(swept_at=_VERSIONS.c.pruned_at))
    op.create_index("rollouts_open", "rollouts", ["created_at"], sqlite_where=OPEN, postgresql_where=OPEN)


def downgrade() -> None:
    op.drop_index("rollouts_open", "rollouts")
    op.drop_column("versions", "swept_at")
