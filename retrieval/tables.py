"""The retrieval package's tables. Vectors are rows of little-endian float32; `encoder` says whose they are."""

import sqlalchemy as sa

from retrieval.database import Moment

metadata = sa.MetaData()

files = sa.Table(
    "files",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant_id", sa.String(64), nullable=False),
    sa.Column("filename", sa.String(512), nullable=False),
    sa.Column("purpose", sa.String(32), nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
    sa.Column("bytes", sa.Integer, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Index("files_by_tenant", "tenant_id", "created_at"),
)

vector_stores = sa.Table(
    "vector_stores",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant_id", sa.String(64), nullable=False),
    sa.Column("name", sa.String(512), nullable=False),
    sa.Column("is_default", sa.Boolean, nullable=False),
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Index("vector_stores_by_tenant", "tenant_id", "created_at"),
)

vector_store_files = sa.Table(
    "vector_store_files",
    metadata,
    sa.Column("vector_store_id", sa.String(64), primary_key=True),
    sa.Column("file_id", sa.String(64), primary_key=True),
    sa.Column("tenant_id", sa.String(64), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("attributes", sa.JSON, nullable=False),
    sa.Column("usage_bytes", sa.Integer, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Index("vector_store_files_by_tenant", "tenant_id", "file_id"),
)

passages = sa.Table(
    "passages",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("tenant_id", sa.String(64), nullable=False),
    sa.Column("vector_store_id", sa.String(64), nullable=False),
    sa.Column("file_id", sa.String(64), nullable=False),
    sa.Column("ordinal", sa.Integer, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("encoder", sa.String(80), nullable=False),
    sa.Column("vector", sa.LargeBinary, nullable=False),
    sa.Index("passages_by_store", "tenant_id", "vector_store_id", "file_id"),
)

memory_entries = sa.Table(
    "memory_entries",
    metadata,
    sa.Column("tenant_id", sa.String(64), primary_key=True),
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("encoder", sa.String(80), nullable=False),
    sa.Column("vector", sa.LargeBinary, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
)
