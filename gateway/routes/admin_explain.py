"""Why an answer is what it is, whichever tenant got it: for the operator."""

from fastapi import APIRouter

from gateway.routes.admin_access import Access
from gateway.routes.admin_documents import Document

router = APIRouter(prefix="/responses", tags=["responses"])


@router.get("/{response_id}/explain")
async def explain(response_id: str, control: Access) -> Document:
    return dict(await control.explainer.explain(None, response_id))
