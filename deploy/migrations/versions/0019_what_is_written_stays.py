"""The database itself refuses to rewrite what a version is, and to rewrite or delete what the alias history and the
audit log say."""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

FIXED = (
    "id, tenant_id, adapter, number, artifact_digest, base_digest, recipe, dataset_digest, parent_id, run_id, source, "
    "actor, metrics, created_at"
)
"""Of a version, all but its status and what became of its files."""
REFUSED = {
    "versions_fixed": ("UPDATE OF " + FIXED, "versions"),
    "versions_kept": ("DELETE", "versions"),
    "alias_history_fixed": ("UPDATE", "alias_history"),
    "alias_history_kept": ("DELETE", "alias_history"),
    "audit_fixed": ("UPDATE", "audit"),
    "audit_kept": ("DELETE", "audit"),
}
"""By trigger: what is refused, and where."""


def upgrade() -> None:
    postgres = op.get_bind().dialect.name == "postgresql"
    if postgres:
        op.execute(
            "CREATE FUNCTION what_is_written_stays() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION '% stays as it was written', TG_TABLE_NAME; END $$"
        )
    for name, (event, table) in REFUSED.items():
        then = (
            "EXECUTE FUNCTION what_is_written_stays()"
            if postgres
            else f"BEGIN SELECT RAISE(ABORT, '{table} stays as it was written'); END"
        )
        op.execute(f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW {then}")


def downgrade() -> None:
    postgres = op.get_bind().dialect.name == "postgresql"
    for name, (_, table) in REFUSED.items():
        op.execute(f"DROP TRIGGER {name}" + (f" ON {table}" if postgres else ""))
    if postgres:
        op.execute("DROP FUNCTION what_is_written_stays()")
