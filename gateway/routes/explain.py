"""`GET /v1/responses/{id}/explain`: why this answer. The tenant's own responses only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response

from adapters.errors import UnknownVersion
from adapters.registry import Registry
from adapters.types import BASE_NAME, Version
from gateway.errors import NotFound
from gateway.keys import Scope
from gateway.routes.access import Access, json_response
from training.errors import FeedbackNotFound, InteractionNotFound, RunNotFound
from training.feedback import FeedbackStore
from training.journal import Interactions
from training.runs import RunStore
from training.types import Interaction


@dataclass(frozen=True)
class ExplainParts:
    access: Access
    interactions: Interactions
    registry: Registry
    runs: RunStore
    store: FeedbackStore


def explain_router(parts: ExplainParts) -> APIRouter:
    router = APIRouter(prefix="/v1/responses", tags=["responses"])

    @router.get("/{response_id}/explain")
    async def explain(request: Request, response_id: str) -> Response:
        tenant = parts.access.principal(request, Scope.CHAT).tenant
        try:
            found = await parts.interactions.find(tenant.id, response_id)
        except InteractionNotFound as error:
            raise NotFound(f"There is no response {response_id!r}.", param="response_id") from error
        return json_response(200, await explanation(parts, found))

    return router


async def explanation(parts: ExplainParts, found: Interaction) -> Mapping[str, Any]:
    """What answered, from what, and how long it took; null where it was not recorded."""
    detail = found.detail or {}
    scores = detail.get("scores", {})
    said = await parts.store.list(found.tenant_id, response_id=found.id, limit=100)
    return {
        "id": found.id,
        "object": "response.explanation",
        "created_at": int(found.at.timestamp()),
        "adapter": found.adapter,
        "arm": found.arm,
        "status": found.status,
        "version": await _version(parts, found),
        "memory": [await _memory(parts, found.tenant_id, each, scores) for each in found.memory_ids],
        "passages": [{"id": each, "score": scores.get(each)} for each in found.passage_ids],
        "feedback": [entry.id for entry in said],
        "usage": dict(found.usage),
        "timings_ms": {"total": found.latency_ms, **detail.get("timings_ms", {})},
    }


async def _version(parts: ExplainParts, found: Interaction) -> Mapping[str, Any]:
    """Where the weights came from; the base model alone has no lineage here."""
    if found.version_id is None:
        label = (found.detail or {}).get("base", BASE_NAME)
        return {"id": None, "label": label, "learned": [], "run": None}
    try:
        version = await parts.registry.version(found.version_id)
    except UnknownVersion:
        return {"id": found.version_id, "label": None, "learned": [], "run": None}
    learned = (await parts.runs.learned([version.id])).get(version.id, frozenset())
    return {
        "id": version.id,
        "label": version.label,
        "dataset": version.lineage.dataset_digest,
        "learned": sorted(learned),
        "run": await _run(parts, version),
    }


async def _run(parts: ExplainParts, version: Version) -> Mapping[str, Any] | None:
    """Without the gate's prompts, which may be many."""
    if version.lineage.run_id is None:
        return None
    try:
        run = await parts.runs.get(version.lineage.run_id, version.tenant_id)
    except RunNotFound:
        return None
    verdict = {name: value for name, value in run.report.items() if not isinstance(value, list | dict)}
    return {
        "id": run.id,
        "trigger": run.trigger,
        "status": run.status.value,
        "created_at": int(run.created_at.timestamp()),
        "gate": verdict,
    }


async def _memory(
    parts: ExplainParts, tenant_id: str, feedback_id: str, scores: Mapping[str, float]
) -> Mapping[str, Any]:
    """The correction as it is now: it may have been edited or withdrawn since."""
    try:
        entry = await parts.store.get(tenant_id, feedback_id)
    except FeedbackNotFound:
        return {"id": feedback_id, "score": scores.get(feedback_id), "status": None}
    return {
        "id": entry.id,
        "score": scores.get(entry.id),
        "status": entry.status.value,
        "question": entry.question,
        "correction": entry.correction,
        "created_at": int(entry.created_at.timestamp()),
        "author": entry.author,
    }
