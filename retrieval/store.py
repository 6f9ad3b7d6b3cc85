"""Files, vector stores and passages in SQL. Every statement names the tenant."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from retrieval.database import put_row, to_bytes, to_vector
from retrieval.errors import NotFound
from retrieval.tables import files, passages, vector_store_files, vector_stores
from retrieval.types import Attachment, File, Page, VectorStore

_FILE_COLUMNS = [column for column in files.c if column.name != "content"]


@dataclass(frozen=True)
class PassageRow:
    """A passage as stored, with its vector and the digest of the encoder it is from."""

    id: str
    tenant_id: str
    vector_store_id: str
    file_id: str
    ordinal: int
    title: str
    text: str
    encoder: str
    vector: NDArray[np.float32]


def new_id(prefix: str) -> str:
    return f"{prefix}{secrets.token_hex(12)}"


def default_store_id(tenant_id: str) -> str:
    """Derived from the tenant, so that two processes that make it at once make the same one."""
    return f"vs_{hashlib.sha256(f'default:{tenant_id}'.encode()).hexdigest()[:24]}"


class DocumentStore:
    """Raises NotFound for ids that are not this tenant's."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    # files

    async def add_file(self, tenant_id: str, filename: str, purpose: str, content: bytes) -> File:
        file = File(new_id("file-"), tenant_id, filename, purpose, len(content), datetime.now(UTC))
        async with self._engine.begin() as connection:
            await connection.execute(sa.insert(files).values(**vars(file), content=content))
        return file

    async def file(self, tenant_id: str, file_id: str) -> File:
        row = await self._one(
            sa.select(*_FILE_COLUMNS).filter_by(tenant_id=tenant_id, id=file_id), "file", file_id
        )
        return _file(row)

    async def content(self, tenant_id: str, file_id: str) -> bytes:
        query = sa.select(files.c.content).filter_by(tenant_id=tenant_id, id=file_id)
        return bytes((await self._one(query, "file", file_id)).content)

    async def files(self, tenant_id: str, page: Page, purpose: str | None = None) -> list[File]:
        query = sa.select(*_FILE_COLUMNS).filter_by(tenant_id=tenant_id)
        if purpose is not None:
            query = query.filter_by(purpose=purpose)
        return [_file(row) for row in await self._page(query, files, files.c.id, page)]

    async def delete_file(self, tenant_id: str, file_id: str) -> None:
        """Removes the file from every vector store too."""
        async with self._engine.begin() as connection:
            for table in (passages, vector_store_files):
                await connection.execute(sa.delete(table).filter_by(tenant_id=tenant_id, file_id=file_id))
            gone = await connection.execute(sa.delete(files).filter_by(tenant_id=tenant_id, id=file_id))
        if not gone.rowcount:
            raise NotFound(f"No such file: {file_id}", "file_id")

    # vector stores

    async def default_store(self, tenant_id: str) -> VectorStore:
        """The tenant's default vector store, made on first use."""
        store_id = default_store_id(tenant_id)
        try:
            return await self.vector_store(tenant_id, store_id)
        except NotFound:
            pass
        try:
            return await self._add_store(
                VectorStore(store_id, tenant_id, "default", True, {}, datetime.now(UTC))
            )
        except IntegrityError:  # another writer was first
            return await self.vector_store(tenant_id, store_id)

    async def add_vector_store(self, tenant_id: str, name: str, metadata: Mapping[str, Any]) -> VectorStore:
        store = VectorStore(new_id("vs_"), tenant_id, name, False, dict(metadata), datetime.now(UTC))
        return await self._add_store(store)

    async def vector_store(self, tenant_id: str, store_id: str) -> VectorStore:
        query = sa.select(vector_stores).filter_by(tenant_id=tenant_id, id=store_id)
        return _store(await self._one(query, "vector store", store_id))

    async def vector_stores(self, tenant_id: str, page: Page) -> list[VectorStore]:
        query = sa.select(vector_stores).filter_by(tenant_id=tenant_id)
        return [_store(row) for row in await self._page(query, vector_stores, vector_stores.c.id, page)]

    async def update_vector_store(
        self, tenant_id: str, store_id: str, values: Mapping[str, Any]
    ) -> VectorStore:
        if values:
            update = sa.update(vector_stores).filter_by(tenant_id=tenant_id, id=store_id).values(**values)
            async with self._engine.begin() as connection:
                await connection.execute(update)
        return await self.vector_store(tenant_id, store_id)

    async def delete_vector_store(self, tenant_id: str, store_id: str) -> None:
        """Its files stay; only their membership and passages go."""
        async with self._engine.begin() as connection:
            for table in (passages, vector_store_files):
                await connection.execute(
                    sa.delete(table).filter_by(tenant_id=tenant_id, vector_store_id=store_id)
                )
            gone = await connection.execute(
                sa.delete(vector_stores).filter_by(tenant_id=tenant_id, id=store_id)
            )
        if not gone.rowcount:
            raise NotFound(f"No such vector store: {store_id}", "vector_store_id")

    async def _add_store(self, store: VectorStore) -> VectorStore:
        async with self._engine.begin() as connection:
            await connection.execute(sa.insert(vector_stores).values(**vars(store)))
        return store

    # files in vector stores

    async def attach(self, attachment: Attachment, rows: Sequence[PassageRow]) -> None:
        """Membership and passages in one transaction; replaces an earlier attachment of the same file. Writers of the
        same file wait for each other at its membership."""
        key = {
            "tenant_id": attachment.tenant_id,
            "vector_store_id": attachment.vector_store_id,
            "file_id": attachment.file_id,
        }
        async with self._engine.begin() as connection:
            await put_row(connection, vector_store_files, key, vars(attachment))
            await connection.execute(sa.delete(passages).filter_by(**key))
            await _insert_passages(connection, rows)

    async def attachment(self, tenant_id: str, store_id: str, file_id: str) -> Attachment:
        query = sa.select(vector_store_files).filter_by(
            tenant_id=tenant_id, vector_store_id=store_id, file_id=file_id
        )
        return _attachment(await self._one(query, "file in this vector store", file_id))

    async def attachments(self, tenant_id: str, store_id: str, page: Page | None = None) -> list[Attachment]:
        """A vector store's files; all of them without a page."""
        query = sa.select(vector_store_files).filter_by(tenant_id=tenant_id, vector_store_id=store_id)
        if page is None:
            async with self._engine.connect() as connection:
                rows: Sequence[sa.Row[Any]] = (await connection.execute(query)).all()
        else:
            rows = await self._page(query, vector_store_files, vector_store_files.c.file_id, page)
        return [_attachment(row) for row in rows]

    async def detach(self, tenant_id: str, store_id: str, file_id: str) -> None:
        key = {"tenant_id": tenant_id, "vector_store_id": store_id, "file_id": file_id}
        async with self._engine.begin() as connection:
            await connection.execute(sa.delete(passages).filter_by(**key))
            gone = await connection.execute(sa.delete(vector_store_files).filter_by(**key))
        if not gone.rowcount:
            raise NotFound(f"No such file in this vector store: {file_id}", "file_id")

    async def passages(self, tenant_id: str, store_id: str) -> list[PassageRow]:
        query = sa.select(passages).filter_by(tenant_id=tenant_id, vector_store_id=store_id)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [PassageRow(**{**row, "vector": to_vector(row["vector"])}) for row in rows]

    async def replace_passages(self, rows: Sequence[PassageRow]) -> None:
        """The same passages with other vectors."""
        async with self._engine.begin() as connection:
            for row in rows:
                values = {"encoder": row.encoder, "vector": to_bytes(row.vector)}
                key = {"id": row.id, "tenant_id": row.tenant_id}
                await connection.execute(sa.update(passages).filter_by(**key).values(**values))

    async def delete_tenant(self, tenant_id: str) -> None:
        async with self._engine.begin() as connection:
            for table in (passages, vector_store_files, vector_stores, files):
                await connection.execute(sa.delete(table).filter_by(tenant_id=tenant_id))

    async def _one(self, query: sa.Select[Any], what: str, wanted: str) -> sa.Row[Any]:
        async with self._engine.connect() as connection:
            row: sa.Row[Any] | None = (await connection.execute(query)).one_or_none()
        if row is None:
            raise NotFound(f"No such {what}: {wanted}", None)
        return row

    async def _page(
        self, query: sa.Select[Any], table: sa.Table, key: sa.Column[str], page: Page
    ) -> Sequence[sa.Row[Any]]:
        """One more row than asked for, where there is one: it shows that the listing goes on."""
        position = sa.tuple_(table.c.created_at, key)

        def at(bound: str) -> sa.ScalarSelect[Any]:
            return query.with_only_columns(table.c.created_at, key).where(key == bound).scalar_subquery()

        if page.after:
            query = query.where(position > at(page.after) if page.ascending else position < at(page.after))
        if page.before:
            query = query.where(position < at(page.before) if page.ascending else position > at(page.before))
        order = [table.c.created_at, key]
        query = query.order_by(*(order if page.ascending else [column.desc() for column in order]))
        async with self._engine.connect() as connection:
            rows: Sequence[sa.Row[Any]] = (await connection.execute(query.limit(page.limit + 1))).all()
        return rows


async def _insert_passages(connection: AsyncConnection, rows: Sequence[PassageRow]) -> None:
    if rows:
        values = [{**vars(row), "vector": to_bytes(row.vector)} for row in rows]
        await connection.execute(sa.insert(passages), values)


def _file(row: sa.Row[Any]) -> File:
    return File(**row._mapping)


def _store(row: sa.Row[Any]) -> VectorStore:
    return VectorStore(**row._mapping)


def _attachment(row: sa.Row[Any]) -> Attachment:
    return Attachment(**row._mapping)
