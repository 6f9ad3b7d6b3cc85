"""Which corrections each dataset holds, beside its text, which goes when its versions are pruned."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_DATASETS = sa.table("datasets", sa.column("digest", sa.String), sa.column("content", sa.JSON))


def upgrade() -> None:
    made = op.create_table(
        "dataset_corrections",
        sa.Column("correction_id", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.PrimaryKeyConstraint("correction_id", "digest"),
    )
    connection = op.get_bind()
    for digest in connection.execute(sa.select(_DATASETS.c.digest)).scalars().all():
        content = connection.execute(
            sa.select(_DATASETS.c.content).where(_DATASETS.c.digest == digest)
        ).scalar_one()
        examples = [
            each
            for fact in content.get("facts", ())
            for part in ("train", "held")
            for each in fact.get(part, ())
        ]
        held = {each["correction_id"] for each in examples if each.get("correction_id")}
        op.bulk_insert(made, [{"correction_id": name, "digest": digest} for name in sorted(held)])


def downgrade() -> None:
    op.drop_table("dataset_corrections")
