"""The adapters package's tables."""

import sqlalchemy as sa

from adapters.database import Integer64, Moment

metadata = sa.MetaData()
_OPEN = "slot IS NOT NULL"

adapters = sa.Table(
    "adapters",
    metadata,
    sa.Column("tenant_id", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("base_digest", sa.String(80), nullable=False),
    sa.Column("created_at", Moment, nullable=False),
)

bases = sa.Table(
    "bases",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("digest", sa.String(80), nullable=False),
    sa.UniqueConstraint("digest"),
)
"""What the engines hold now, by the name that tenants use."""

versions = sa.Table(
    "versions",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant_id", sa.String(64), nullable=False),
    sa.Column("adapter", sa.String(64), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("artifact_digest", sa.String(80), nullable=False),
    sa.Column("base_digest", sa.String(80), nullable=False),
    sa.Column("recipe", sa.JSON, nullable=False),
    sa.Column("dataset_digest", sa.String(80)),
    sa.Column("parent_id", sa.String(64)),
    sa.Column("run_id", sa.String(64)),
    sa.Column("source", sa.String(1024)),
    sa.Column("actor", sa.String(128)),
    sa.Column("metrics", sa.JSON, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("pruned_at", Moment),
    sa.Column("swept_at", Moment),
    sa.UniqueConstraint("tenant_id", "adapter", "number"),
    sa.Index("versions_by_status", "status"),
    sa.Index("versions_by_run", "run_id"),
    sa.Index("versions_by_artifact", "artifact_digest"),
    sa.Index("versions_by_parent", "parent_id"),
    sa.Index("versions_by_age", "base_digest", "created_at", "id"),
)
"""pruned_at: since when nothing may need its files. swept_at: when they were deleted."""

aliases = sa.Table(
    "aliases",
    metadata,
    sa.Column("tenant_id", sa.String(64), primary_key=True),
    sa.Column("adapter", sa.String(64), primary_key=True),
    sa.Column("alias", sa.String(16), primary_key=True),
    sa.Column("version_id", sa.String(64)),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Index("aliases_by_version", "version_id"),
)

pins = sa.Table(
    "pins",
    metadata,
    sa.Column("version_id", sa.String(64), primary_key=True),
    sa.Column("actor", sa.String(128), nullable=False),
    sa.Column("at", Moment, nullable=False),
)
"""Versions that stay in the engines whether or not anybody asks for them."""

drains = sa.Table(
    "drains",
    metadata,
    sa.Column("url", sa.String(512), primary_key=True),
    sa.Column("actor", sa.String(128), nullable=False),
    sa.Column("at", Moment, nullable=False),
)
"""Replicas that get no new work."""

alias_history = sa.Table(
    "alias_history",
    metadata,
    sa.Column("id", Integer64, primary_key=True, autoincrement=True),
    sa.Column("tenant_id", sa.String(64), nullable=False),
    sa.Column("adapter", sa.String(64), nullable=False),
    sa.Column("alias", sa.String(16), nullable=False),
    sa.Column("version_id", sa.String(64)),
    sa.Column("previous_id", sa.String(64)),
    sa.Column("actor", sa.String(128), nullable=False),
    sa.Column("at", Moment, nullable=False),
    sa.Index("alias_history_by_adapter", "tenant_id", "adapter", "alias", "id"),
)

rollouts = sa.Table(
    "rollouts",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant_id", sa.String(64), nullable=False),
    sa.Column("adapter", sa.String(64), nullable=False),
    sa.Column("slot", sa.String(64)),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("version_id", sa.String(64), nullable=False),
    sa.Column("against_id", sa.String(64)),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("plan", sa.JSON, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("shares", sa.JSON, nullable=False),
    sa.Column("budget_tokens", Integer64),
    sa.Column("slow_ms", sa.Float),
    sa.Column("bounds", sa.JSON, nullable=False),
    sa.Column("actor", sa.String(128), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("step_started_at", Moment, nullable=False),
    sa.Column("ended_at", Moment),
    sa.UniqueConstraint("tenant_id", "slot"),
    sa.Index("rollouts_by_adapter", "tenant_id", "adapter", "created_at"),
    sa.Index("rollouts_open", "created_at", sqlite_where=sa.text(_OPEN), postgresql_where=sa.text(_OPEN)),
)
"""`slot` is the adapter's name while the rollout is open and empty afterwards: an adapter has one at a time."""

rollout_decisions = sa.Table(
    "rollout_decisions",
    metadata,
    sa.Column("id", Integer64, primary_key=True, autoincrement=True),
    sa.Column("rollout_id", sa.String(64), nullable=False),
    sa.Column("at", Moment, nullable=False),
    sa.Column("actor", sa.String(128), nullable=False),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("numbers", sa.JSON, nullable=False),
    sa.Index("rollout_decisions_by_rollout", "rollout_id", "id"),
)

changes = sa.Table(
    "changes",
    metadata,
    sa.Column("id", Integer64, primary_key=True, autoincrement=True),
    sa.Column("tenant_id", sa.String(64), nullable=False),
    sqlite_autoincrement=True,
)
"""The change log that gateway workers follow: every write that alters a route, a key or a policy appends one
row in its own transaction, and a worker reloads the tenants named after the last position it has seen."""

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", Integer64, primary_key=True, autoincrement=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("actor", sa.String(128), nullable=False),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("tenant_id", sa.String(64)),
    sa.Column("subject", sa.String(256), nullable=False),
    sa.Column("detail", sa.JSON, nullable=False),
    sa.Index("audit_by_tenant", "tenant_id", "id"),
)
"""Who changed what, of every package: each entry is part of the transaction that makes the change."""
