"""Responses that a client asked to be kept: per tenant, for as long as the tenant's policy says.

A row holds the whole conversation up to and with its response, so that a next turn costs one read and outlives the
deletion of the turns before it.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.errors import NotFound, Unavailable
from gateway.policy import Policy
from gateway.response_request import ResponseRequest
from gateway.snapshot import TenantView
from gateway.tables import responses
from training.types import Logging

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stored:
    """document: the response object as the client got it. conversation: its output last."""

    document: Mapping[str, Any]
    conversation: Sequence[Mapping[str, Any]]

    @property
    def input_items(self) -> Sequence[Mapping[str, Any]]:
        """What it answered, oldest first, every item with an id and its content as parts."""
        said = self.conversation[: len(self.conversation) - len(self.document["output"])]
        stem = str(self.document["id"]).removeprefix("resp_")
        return [_listed(item, f"msg_{stem}_{number}") for number, item in enumerate(said)]


class ResponseStore:
    """Another tenant's response, an expired one and one that never was are all NotFound."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def resume(self, tenant: TenantView, request: ResponseRequest) -> ResponseRequest:
        """The request with the turns before it. Raises NotFound or Unavailable."""
        if request.previous_id is None:
            return request
        earlier = await self.get(tenant.id, request.previous_id, param="previous_response_id")
        return request.resumed(earlier.conversation)

    async def keep(self, tenant: TenantView, request: ResponseRequest, document: Mapping[str, Any]) -> bool:
        """Whether the response is kept now. A client gets its answer even when the record cannot be written."""
        if not keeps(tenant.policy, request.store):
            return False
        now = datetime.now(UTC)
        row = {
            "id": document["id"],
            "tenant_id": tenant.id,
            "document": {**document, "store": True},
            "conversation": [*request.items, *document["output"]],
            "created_at": now,
            "expires_at": now + timedelta(days=tenant.policy.responses.retention_days),
        }
        try:
            async with self._engine.begin() as connection:
                await connection.execute(sa.insert(responses).values(**row))
        except SQLAlchemyError as error:
            log.error("%s was not kept: %s", document["id"], type(error).__name__)
            return False
        return True

    async def get(self, tenant_id: str, response_id: str, *, param: str | None = None) -> Stored:
        """Raises NotFound or Unavailable."""
        query = sa.select(responses.c.document, responses.c.conversation).where(_own(tenant_id, response_id))
        try:
            async with self._engine.connect() as connection:
                row = (await connection.execute(query)).one_or_none()
        except SQLAlchemyError as error:
            raise _unavailable() from error
        if row is None:
            raise _unknown(response_id, param)
        return Stored(row.document, row.conversation)

    async def delete(self, tenant_id: str, response_id: str) -> None:
        """Raises NotFound or Unavailable."""
        try:
            async with self._engine.begin() as connection:
                done = await connection.execute(sa.delete(responses).where(_own(tenant_id, response_id)))
        except SQLAlchemyError as error:
            raise _unavailable() from error
        if not done.rowcount:
            raise _unknown(response_id)

    async def prune(self) -> int:
        """Delete what has expired; returns how many."""
        async with self._engine.begin() as connection:
            expired = sa.delete(responses).where(responses.c.expires_at <= datetime.now(UTC))
            return (await connection.execute(expired)).rowcount


def keeps(policy: Policy, store: bool | None) -> bool:
    """store: what the client said. Where it said nothing, the tenant's logging decides: who lets the journal keep no
    text expects none to be kept elsewhere."""
    if policy.responses.retention_days == 0:
        return False
    return policy.logging is Logging.FULL if store is None else store


def _listed(item: Mapping[str, Any], item_id: str) -> Mapping[str, Any]:
    content = item.get("content")
    if isinstance(content, str):
        kind = "output_text" if item.get("role") == "assistant" else "input_text"
        content = [{"type": kind, "text": content}]
    return {"id": item_id, "type": "message", **item, **({} if content is None else {"content": content})}


def _own(tenant_id: str, response_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(
        responses.c.id == response_id,
        responses.c.tenant_id == tenant_id,
        responses.c.expires_at > datetime.now(UTC),
    )


def _unknown(response_id: str, param: str | None = None) -> NotFound:
    return NotFound(f"There is no response {response_id[:64]!r}.", param=param)


def _unavailable() -> Unavailable:
    return Unavailable("Stored responses cannot be read right now.", retry_after_s=1.0)
