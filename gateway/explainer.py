"""Why an answer is what it is: what answered, from which weights, memory and passages, how long it took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.errors import UnknownVersion
from adapters.registry import Registry
from adapters.types import BASE_NAME, Version
from gateway.errors import NotFound
from training.errors import FeedbackNotFound, InteractionNotFound, RunNotFound
from training.feedback import FeedbackStore
from training.journal import Interactions
from training.runs import RunStore
from training.types import Feedback, Interaction

LEARNED_SHOWN = 20
"""Of the corrections that a version has learned, the newest that are shown in full."""


@dataclass(frozen=True)
class Explainer:
    interactions: Interactions
    registry: Registry
    runs: RunStore
    store: FeedbackStore

    async def explain(self, tenant_id: str | None, response_id: str) -> Mapping[str, Any]:
        """What answered, from what, and how long it took; null where it was not recorded. tenant_id None: whoever's
        response it is, for the operator alone. Raises NotFound, also for another tenant's response."""
        try:
            found = await self.interactions.find(tenant_id, response_id)
        except InteractionNotFound as error:
            raise NotFound(f"There is no response {response_id!r}.", param="response_id") from error
        detail = found.detail or {}
        scores = detail.get("scores", {})
        said = await self.store.list(found.tenant_id, response_id=found.id, limit=100)
        return {
            "id": found.id,
            "object": "response.explanation",
            "created_at": int(found.at.timestamp()),
            "adapter": found.adapter,
            "arm": found.arm,
            "status": found.status,
            "version": await self._version(found),
            "memory": [await self._memory(found.tenant_id, each, scores) for each in found.memory_ids],
            "passages": [{"id": each, "score": scores.get(each)} for each in found.passage_ids],
            "feedback": [entry.id for entry in said],
            "usage": dict(found.usage),
            "timings_ms": {"total": found.latency_ms, **detail.get("timings_ms", {})},
        }

    async def _version(self, found: Interaction) -> Mapping[str, Any]:
        """Where the weights came from; the base model alone has no lineage here."""
        unknown = {"learned": _learned([], 0), "run": None}
        if found.version_id is None:
            return {"id": None, "label": (found.detail or {}).get("base", BASE_NAME), **unknown}
        try:
            version = await self.registry.version(found.version_id)
        except UnknownVersion:
            return {"id": found.version_id, "label": None, **unknown}
        return {
            "id": version.id,
            "label": version.label,
            "dataset": version.lineage.dataset_digest,
            "learned": _learned(*await self.store.learned_by(found.tenant_id, version.id, LEARNED_SHOWN)),
            "run": await self._run(version),
        }

    async def _run(self, version: Version) -> Mapping[str, Any] | None:
        """Without the gate's prompts, which may be many."""
        if version.lineage.run_id is None:
            return None
        try:
            run = await self.runs.get(version.lineage.run_id, version.tenant_id)
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
        self, tenant_id: str, feedback_id: str, scores: Mapping[str, float]
    ) -> Mapping[str, Any]:
        """The correction as it is now: it may have been edited or withdrawn since."""
        score = {"score": scores.get(feedback_id)}
        try:
            entry = await self.store.get(tenant_id, feedback_id)
        except FeedbackNotFound:
            return {"id": feedback_id, **score, "status": None}
        return {**_correction(entry), **score, "author": entry.author}


def _learned(newest: Sequence[Feedback], count: int) -> Mapping[str, Any]:
    """`count`: of all that the version has learned."""
    return {"count": count, "newest": [_correction(entry) for entry in newest]}


def _correction(entry: Feedback) -> Mapping[str, Any]:
    return {
        "id": entry.id,
        "status": entry.status.value,
        "question": entry.question,
        "correction": entry.correction,
        "created_at": int(entry.created_at.timestamp()),
    }
