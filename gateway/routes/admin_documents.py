"""The shapes in which the admin API shows things: OpenAI's lists, times as ISO 8601 in UTC, no secrets."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, TypeVar

from adapters.audit import Entry
from adapters.swap import SwapResult
from adapters.types import CLAIMED, Adapter, AliasMove, Version
from gateway.key_store import KeyRecord
from gateway.tenants import Tenant
from training.types import Run, RunEvent

Document = dict[str, Any]
Item = TypeVar("Item")


def page(items: Sequence[Item], limit: int, document: Callable[[Item], Document]) -> Document:
    """A list of at most `limit`; `items` holds one more when there are more."""
    data = [document(item) for item in items[:limit]]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(items) > limit,
    }


def whole(items: Iterable[Item], document: Callable[[Item], Document]) -> Document:
    """A list that is never long enough for pages."""
    found = list(items)
    return page(found, len(found), document)


def tenant(one: Tenant) -> Document:
    return {
        "object": "tenant",
        "id": one.id,
        "external_id": one.external_id,
        "name": one.name,
        "created_at": time(one.created_at),
    }


def key(one: KeyRecord) -> Document:
    return {
        "object": "key",
        "id": one.id,
        "tenant_id": one.tenant_id,
        "public_id": one.public_id,
        "name": one.name,
        "scopes": [scope.value for scope in one.scopes],
        "limits": one.limits.model_dump(),
        "created_at": time(one.created_at),
        "expires_at": time(one.expires_at),
        "revoked_at": time(one.revoked_at),
        "last_used_at": time(one.last_used_at),
    }


def adapter(
    one: Adapter, base: str | None, aliases: Mapping[str, Any], versions: Mapping[str, int]
) -> Document:
    """`base`: name of its base model; None while no engine holds that. `aliases`: alias to its version's label and id
    (both None: the base model) and its revision. `versions`: how many have each status, and how many were pruned."""
    return {
        "object": "adapter",
        "id": one.name,
        "tenant_id": one.tenant_id,
        "name": one.name,
        "base": base,
        "base_digest": one.base_digest,
        "stable": aliases.get("stable", {}).get("version"),
        "candidate": aliases.get("candidate", {}).get("version"),
        "aliases": aliases,
        "versions": {**versions, "live": sum(versions.values()) - versions.get("pruned", 0)},
        "created_at": time(one.created_at),
    }


def version(one: Version) -> Document:
    """`claimed`: what an import's file says of its past. Nothing here vouches for it, nor for recipe and dataset in the
    lineage of an import."""
    return {
        "object": "version",
        "id": one.id,
        "tenant_id": one.tenant_id,
        "adapter": one.adapter,
        "number": one.number,
        "label": one.label,
        "status": one.status.value,
        "artifact_digest": one.artifact_digest,
        "lineage": asdict(one.lineage),
        "metrics": {name: value for name, value in one.metrics.items() if name != CLAIMED},
        "claimed": one.metrics.get(CLAIMED),
        "created_at": time(one.created_at),
        "pruned_at": time(one.pruned_at),
    }


def move(one: AliasMove) -> Document:
    return {
        "id": one.id,
        "alias": one.alias.value,
        "version_id": one.version_id,
        "previous_id": one.previous_id,
        "actor": one.actor,
        "at": time(one.at),
    }


def swap(one: SwapResult, labels: Mapping[str, str]) -> Document:
    """`labels`: version id to `adapter@v7`."""
    stages = ("load", "probe", "flip", "visible", "drain", "unload")
    return {
        "object": "swap",
        "tenant_id": one.tenant_id,
        "adapter": one.adapter,
        "version_id": one.version_id,
        "version": labels.get(one.version_id or "", "base"),
        "previous_id": one.previous_id,
        "previous": labels.get(one.previous_id or "", "base"),
        "change": one.change,
        "workers": one.workers,
        "visible": one.visible,
        "unloaded": list(one.unloaded),
        "timings_ms": {stage: round(getattr(one, f"{stage}_ms"), 2) for stage in stages},
        "total_ms": round(one.total_ms, 2),
    }


def run(one: Run) -> Document:
    """Without the gate's prompts and answers, which `run_with_report` has."""
    report = {name: value for name, value in one.report.items() if not isinstance(value, list)}
    return {**run_with_report(one), "report": report}


def run_with_report(one: Run) -> Document:
    return {
        "object": "run",
        "id": one.id,
        "tenant_id": one.tenant_id,
        "adapter": one.adapter,
        "status": one.status.value,
        "phase": one.phase.value,
        "trigger": one.trigger,
        "recipe": dict(one.recipe),
        "dataset_digest": one.dataset_digest,
        "version_id": one.version_id,
        "progress": dict(one.progress),
        "report": dict(one.report),
        "costs": dict(one.costs),
        "error": one.error,
        "attempts": one.attempts,
        "not_before": time(one.not_before),
        "created_at": time(one.created_at),
        "updated_at": time(one.updated_at),
    }


def run_event(one: RunEvent) -> Document:
    return {"id": one.id, "run_id": one.run_id, "kind": one.kind, "data": dict(one.data), "at": time(one.at)}


def audit_entry(one: Entry) -> Document:
    return {
        "object": "audit_entry",
        "id": one.id,
        "at": time(one.at),
        "actor": one.act.actor,
        "action": one.act.action,
        "tenant_id": one.act.tenant_id,
        "subject": one.act.subject,
        "detail": dict(one.act.detail),
    }


def time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
