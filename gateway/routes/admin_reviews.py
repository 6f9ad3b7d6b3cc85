"""The review queue: corrections that wait for a person."""

from fastapi import APIRouter

from gateway.control import Control
from gateway.routes import admin_documents as documents
from gateway.routes.admin_access import Access, Actor, Limit
from gateway.routes.admin_documents import Document
from gateway.routes.feedback_documents import EditBody, memory_state, wire
from training.drafts import Recorded
from training.outbox import remembered
from training.types import CorrectionStatus, Feedback

router = APIRouter(prefix="/tenants/{tenant}/reviews", tags=["reviews"])


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
    return await _decided(control, await control.feedback.review(owner.id, feedback_id, actor, accept=True))


@router.post("/{feedback_id}/edit")
async def edit_review(
    tenant: str, feedback_id: str, body: EditBody, control: Access, actor: Actor
) -> Document:
    """Accept another text instead; it is not screened again."""
    owner = await control.tenants.get(tenant)
    recorded = await control.feedback.rewrite(owner.id, feedback_id, body.correction, actor)
    return await _decided(control, recorded)


@router.post("/{feedback_id}/reject")
async def reject_review(tenant: str, feedback_id: str, control: Access, actor: Actor) -> Document:
    owner = await control.tenants.get(tenant)
    return await _decided(control, await control.feedback.review(owner.id, feedback_id, actor, accept=False))


async def _decided(control: Control, recorded: Recorded) -> Document:
    entry = recorded.feedback
    done = await control.delivery.deliver(recorded)
    return wire(entry, memory_state(entry, remembered(entry), done))


def _review(entry: Feedback) -> Document:
    return {**wire(entry), "author": entry.author, "trusted": entry.trusted, "question": entry.question}
