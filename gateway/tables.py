"""The gateway package's tables: tenants, their keys, the responses that clients keep, and calls of webhooks that are
due."""

import sqlalchemy as sa

from adapters.database import Moment

metadata = sa.MetaData()

tenants = sa.Table(
    "tenants",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("external_id", sa.String(128), nullable=False, unique=True),
    sa.Column("name", sa.String(256), nullable=False),
    sa.Column("policy", sa.JSON, nullable=False),
    sa.Column("policy_revision", sa.Integer, nullable=False, default=1),
    sa.Column("created_at", Moment, nullable=False),
)

keys = sa.Table(
    "keys",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant_id", sa.String(64)),
    sa.Column("public_id", sa.String(32), nullable=False, unique=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("limits", sa.JSON, nullable=False, server_default="{}"),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("expires_at", Moment),
    sa.Column("rotated_at", Moment),
    sa.Column("revoked_at", Moment),
    sa.Column("last_used_at", Moment),
    sa.Index("keys_by_tenant", "tenant_id"),
)
"""API keys. `tenant_id` is empty for a platform key, which may act for any tenant; `digest` is the SHA-256 of the
whole key; `limits` is a document of `gateway.policy.Caps`; `last_used_at` is some seconds behind."""

responses = sa.Table(
    "responses",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant_id", sa.String(64), nullable=False),
    sa.Column("document", sa.JSON, nullable=False),
    sa.Column("conversation", sa.JSON, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("expires_at", Moment, nullable=False),
    sa.Index("responses_by_expiry", "expires_at"),
)
"""What `/v1/responses` keeps for its clients. `conversation` is the whole of it, the response's own output last."""

writes = sa.Table(
    "writes",
    metadata,
    sa.Column("tenant_id", sa.String(64), primary_key=True),
    sa.Column("key", sa.String(256), primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("content_type", sa.String(128)),
    sa.Column("body", sa.LargeBinary),
    sa.Column("expires_at", Moment, nullable=False),
    sa.Index("writes_by_expiry", "expires_at"),
)
"""Writes that named an `Idempotency-Key`. `digest` is the SHA-256 of the request; the answer is empty until there is
one."""

webhook_calls = sa.Table(
    "webhook_calls",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant_id", sa.String(64), nullable=False),
    sa.Column("url", sa.String(2048), nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("due_at", Moment, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Index("webhook_calls_by_due", "due_at"),
)
"""Written in the transaction of what they tell; a call that was answered, or given up, is deleted."""
