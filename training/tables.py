"""The training package's tables: the record that adapters are made from."""

import sqlalchemy as sa

from adapters.database import Integer64, Moment

metadata = sa.MetaData()
_ACTIVE = "status IN ('queued', 'running')"
_UNNAMED = "correction IS NOT NULL AND question_digest IS NULL"
_SAID_BY = ("tenant_id", "adapter", "trusted", "status", "user", "author", "question_digest")
"""All that is read to count what who has said, so that no row is."""

interactions = sa.Table(
    "interactions",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant_id", sa.String(64), nullable=False),
    sa.Column("adapter", sa.String(64), nullable=False),
    sa.Column("version_id", sa.String(64)),
    sa.Column("arm", sa.String(16), nullable=False),
    sa.Column("messages", sa.JSON, nullable=False),
    sa.Column("response", sa.Text, nullable=False),
    sa.Column("memory_ids", sa.JSON, nullable=False),
    sa.Column("passage_ids", sa.JSON, nullable=False),
    sa.Column("session_id", sa.String(128)),
    sa.Column("usage", sa.JSON, nullable=False),
    sa.Column("latency_ms", sa.Float, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("at", Moment, nullable=False),
    sa.Column("detail", sa.JSON),
    sa.Column("flaw", sa.String(16)),
    sa.Column("rollout", sa.String(64)),
    sa.Column("draw", sa.Float),
    sa.Index("interactions_by_tenant", "tenant_id", "at"),
    sa.Index("interactions_by_rollout", "rollout"),
)

feedback = sa.Table(
    "feedback",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant_id", sa.String(64), nullable=False),
    sa.Column("adapter", sa.String(64), nullable=False),
    sa.Column("response_id", sa.String(64)),
    sa.Column("messages", sa.JSON, nullable=False),
    sa.Column("rejected", sa.Text),
    sa.Column("correction", sa.Text),
    sa.Column("rating", sa.Integer),
    sa.Column("comment", sa.Text),
    sa.Column("user", sa.String(256)),
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.Column("author", sa.String(64), nullable=False),
    sa.Column("version_id", sa.String(64)),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("reasons", sa.JSON, nullable=False),
    sa.Column("idempotency_key", sa.String(256)),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("trusted", sa.Boolean, nullable=False, default=True),
    sa.Column("correction_message", sa.JSON),
    sa.Column("replaces", sa.String(64)),
    sa.Column("request_digest", sa.String(64)),
    sa.Column("tools", sa.JSON),
    sa.Column("accepted_at", Moment),
    sa.Column("question_digest", sa.String(64)),
    sa.UniqueConstraint("tenant_id", "idempotency_key"),
    sa.Index("feedback_by_tenant", "tenant_id", "adapter", "created_at"),
    sa.Index("feedback_by_question", "tenant_id", "adapter", "question_digest", "status"),
    sa.Index("feedback_by_contributor", *_SAID_BY),
    sa.Index("feedback_by_age", "tenant_id", "created_at", "id"),
    sa.Index("feedback_by_status", "tenant_id", "status", "created_at", "id"),
    sa.Index("feedback_by_response", "tenant_id", "response_id", "created_at", "id"),
    sa.Index("feedback_unnamed", "id", sqlite_where=sa.text(_UNNAMED), postgresql_where=sa.text(_UNNAMED)),
)
"""accepted_at: when a person accepted a correction that had waited; NULL for one that never waited. question_digest:
of a correction, `training.screening.question_digest`; NULL where nothing is corrected."""

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", Integer64, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("subject", sa.String(64), nullable=False),
    sa.Column("payload", sa.JSON, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("created_at", Moment, nullable=False),
)
"""Steps that span packages, written in the transaction that causes them and deleted once done. Kinds:
`memory.put` and `memory.delete` (subject: the correction), `run.stopped` (subject: the run)."""

datasets = sa.Table(
    "datasets",
    metadata,
    sa.Column("digest", sa.String(80), primary_key=True),
    sa.Column("tenant_id", sa.String(64), nullable=False),
    sa.Column("adapter", sa.String(64), nullable=False),
    sa.Column("content", sa.JSON, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
)

dataset_corrections = sa.Table(
    "dataset_corrections",
    metadata,
    sa.Column("correction_id", sa.String(64), primary_key=True),
    sa.Column("digest", sa.String(80), primary_key=True),
)
"""Which corrections a dataset holds; kept when its text goes, so that a correction's versions can always be named."""

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant_id", sa.String(64), nullable=False),
    sa.Column("adapter", sa.String(64), nullable=False),
    sa.Column("status", sa.String(24), nullable=False),
    sa.Column("phase", sa.String(16), nullable=False),
    sa.Column("trigger", sa.String(16), nullable=False),
    sa.Column("recipe", sa.JSON, nullable=False),
    sa.Column("dataset_digest", sa.String(80)),
    sa.Column("version_id", sa.String(64)),
    sa.Column("progress", sa.JSON, nullable=False),
    sa.Column("report", sa.JSON, nullable=False),
    sa.Column("costs", sa.JSON, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("owner", sa.String(64)),
    sa.Column("lease_until", Moment),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("not_before", Moment),
    sa.Column("started_at", Moment),
    sa.Index("runs_by_tenant", "tenant_id", "created_at", "id"),
    sa.Index("runs_by_adapter", "tenant_id", "adapter", "created_at", "id"),
    sa.Index("runs_by_age", "created_at", "id"),
    sa.Index("runs_by_status", "status", "created_at", "id"),
    sa.Index(
        "runs_one_per_adapter",
        "tenant_id",
        "adapter",
        unique=True,
        sqlite_where=sa.text(_ACTIVE),
        postgresql_where=sa.text(_ACTIVE),
    ),
)
"""attempts: how often the run was interrupted by a fault. not_before: when it is tried again. started_at: when a
learner last took it up."""

run_events = sa.Table(
    "run_events",
    metadata,
    sa.Column("id", Integer64, primary_key=True, autoincrement=True),
    sa.Column("run_id", sa.String(64), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("data", sa.JSON, nullable=False),
    sa.Column("at", Moment, nullable=False),
    sa.Index("run_events_by_run", "run_id", "id"),
)

learned = sa.Table(
    "learned",
    metadata,
    sa.Column("version_id", sa.String(64), primary_key=True),
    sa.Column("correction_id", sa.String(64), primary_key=True),
)
"""Which corrections a version answers in their own wording without memory. Written by the gate."""

learning_policies = sa.Table(
    "learning_policies",
    metadata,
    sa.Column("tenant_id", sa.String(64), primary_key=True),
    sa.Column("document", sa.JSON, nullable=False),
)
"""The learning part of each tenant's policy document (`training.types.LearningPolicy`), written by control in
the transaction that changes the policy, so that the learner needs no other process to know it."""
