"""Which base model each name stands for now; where all adapters have one, it is the first."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "bases",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sa.UniqueConstraint("digest"),
    )
    op.execute(
        "INSERT INTO bases (name, digest) SELECT 'base', digest FROM "
        "(SELECT MIN(base_digest) AS digest, COUNT(DISTINCT base_digest) AS number FROM adapters) AS found "
        "WHERE number = 1"
    )


def downgrade() -> None:
    op.drop_table("bases")
