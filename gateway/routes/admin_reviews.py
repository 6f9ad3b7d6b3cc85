"""The review queue: corrections that wait for a person."""

from typing import Annotated

from fastapi import APIRouter, Query

from adapters import audit
from adapters.audit import Act
from gateway.control import Control
from gateway.routes import admin_documents as documents
from gateway.routes.admin_access import Access, Actor
from gateway.routes.admin_documents import Document
from gateway.routes.feedback_documents import EditBody, memory_state, wire
from training.drafts import Recorded
from training.outbox import remembered
from training.types import CorrectionStatus, Feedback

router = APIRouter(prefix="/tenants/{tenant}/reviews", tags=["reviews"])

Limit = Annotated[int, Query(ge=1, le=200)]


@router.get("")
async def list_reviews(tenant: str, control: Access, after: str | None = None, limit: Limit = 20) -> Document:
    """Oldest first, each with the reasons why it waits."""
    found = await control.feedback.list(
        (await control.tenants.get(tenant)).id,
        status=CorrectionStatus.QUARANTINED,
        after=after,
        limit=limit + 1,
        newest_first=False,
    )
    return documents.page(found, limit, _review)


@router.post("/{feedback_id}/accept")
async def accept_review(tenant: str, feedback_id: str, control: Access, actor: Actor) -> Document:
    """In memory when the answer says `active`; what it contradicts is superseded."""
    owner = await control.tenants.get(tenant)
    recorded = await control.feedback.review(owner.id, feedback_id, accept=True)
    return await _decided(control, actor, "review.accepted", feedback_id, recorded)


@router.post("/{feedback_id}/edit")
async def edit_review(
    tenant: str, feedback_id: str, body: EditBody, control: Access, actor: Actor
) -> Document:
    """Accept another text instead; it is not screened again."""
    owner = await control.tenants.get(tenant)
    recorded = await control.feedback.edit(
        owner.id, feedback_id, body.correction, author=actor, reviewed=True
    )
    return await _decided(control, actor, "review.edited", feedback_id, recorded)


@router.post("/{feedback_id}/reject")
async def reject_review(tenant: str, feedback_id: str, control: Access, actor: Actor) -> Document:
    owner = await control.tenants.get(tenant)
    recorded = await control.feedback.review(owner.id, feedback_id, accept=False)
    return await _decided(control, actor, "review.rejected", feedback_id, recorded)


async def _decided(
    control: Control, actor: str, action: str, feedback_id: str, recorded: Recorded
) -> Document:
    entry = recorded.feedback
    detail = {"adapter": entry.adapter, "result": entry.id}
    await audit.record_alone(control.sql, Act(actor, action, feedback_id, entry.tenant_id, detail))
    done = await control.delivery.deliver(recorded)
    return wire(entry, memory_state(entry, remembered(entry), done))


def _review(entry: Feedback) -> Document:
    return {**wire(entry), "author": entry.author, "trusted": entry.trusted, "question": entry.question}
