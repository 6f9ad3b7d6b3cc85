"""What keeps a fleet of adapters small and its engines warm: pins, merges, retention, the distance from the base."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from adapters.divergence import divergence
from adapters.errors import WrongBase
from adapters.retention import Judged
from adapters.types import Version
from gateway.control import Control
from gateway.errors import Conflict, InvalidRequest
from gateway.routes import admin_documents as documents
from gateway.routes.admin_access import Access, Actor
from gateway.routes.admin_adapters import find_adapter, find_version
from gateway.routes.admin_documents import Document
from gateway.routes.admin_runs import require_learner
from training.types import MERGE

router = APIRouter(prefix="/tenants/{tenant}/adapters/{adapter}", tags=["upkeep"])


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Source(Part):
    """`version`: `v7` of this adapter, `other@v7` of another one of the tenant's, or a version's id."""

    version: str = Field(min_length=1, max_length=200)
    weight: float = Field(default=1.0, gt=0, le=10)


class Merge(Part):
    """PEFT's rules on the changes of the weights. `density`: share of elements that TIES and DARE keep. `rank`: of the
    result; what is beyond it is lost, and the run says how much."""

    sources: list[Source] = Field(min_length=2, max_length=16)
    method: Literal["linear", "ties", "dare_linear", "dare_ties"] = "linear"
    density: float = Field(default=0.5, gt=0, le=1)
    rank: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0, le=2**31 - 1)


class Pruning(Part):
    dry_run: bool = False


@router.put("/versions/{version}/pin")
async def pin(tenant: str, adapter: str, version: str, control: Access, actor: Actor) -> Document:
    """Keep the version in the engines, asked for or not, and its files in the store."""
    found = await _servable(control, tenant, adapter, version)
    await control.wants.pin(found.id, actor)
    return {**documents.version(found), "pinned": True}


@router.delete("/versions/{version}/pin")
async def unpin(tenant: str, adapter: str, version: str, control: Access, actor: Actor) -> Document:
    found = await find_version(control, await find_adapter(control, tenant, adapter), version)
    await control.wants.unpin(found.id, actor)
    return {**documents.version(found), "pinned": False}


@router.post("/merges", status_code=201)
async def merge(tenant: str, adapter: str, body: Merge, control: Access, actor: Actor) -> Document:
    """Queue a run that makes one version out of several. It goes through the same gate as a trained one. 409 while the
    adapter has a run."""
    owner = await find_adapter(control, tenant, adapter)
    await require_learner(control, owner)
    rank = body.rank or control.max_lora_rank
    if rank > control.max_lora_rank:
        raise InvalidRequest(f"the engines take rank {control.max_lora_rank} at most", param="rank")
    sources = []
    for source in body.sources:
        name, at, _ = source.version.partition("@")
        found = await _servable(control, tenant, name if at else adapter, source.version)
        if found.lineage.base_digest != owner.base_digest:
            raise WrongBase(owner.base_digest, found.lineage.base_digest)
        sources.append({"version_id": found.id, "weight": source.weight})
    if len({source["version_id"] for source in sources}) < len(sources):
        raise InvalidRequest("a version can be merged only once", param="sources")
    plan = {
        "sources": sources,
        "method": body.method,
        "density": body.density,
        "rank": rank,
        "seed": body.seed,
    }
    return documents.run(await control.runs.create(owner.tenant_id, adapter, "merge", {MERGE: plan}, actor))


@router.get("/versions/{version}/divergence")
async def version_divergence(
    tenant: str,
    adapter: str,
    version: str,
    control: Access,
    anchors: Annotated[int, Query(ge=1, le=256)] = 64,
) -> Document:
    """KL(base ‖ version) in nats at the first token of the answers to anchors, asked of an engine; a lower bound. The
    version is loaded where it is not."""
    found = await _servable(control, tenant, adapter, version)
    base = control.bases.of(found.lineage.base_digest)
    prompts = _anchors(control.anchors_of(base), anchors)
    async with control.swapper.loaded(found.id) as engines:
        measured = await divergence(engines[0], found.id, prompts)
    return {
        "object": "divergence",
        "version": found.label,
        "version_id": found.id,
        "mean": measured.mean,
        "p95": measured.p95,
        "worst": measured.worst,
        "anchors": measured.prompts,
    }


@router.post("/prune")
async def prune(tenant: str, adapter: str, body: Pruning, control: Access, actor: Actor) -> Document:
    """Let the files go of what the tenant's retention does not keep and nothing needs; with `dry_run`, only say what
    would go and why the rest stays. Control does it by itself every minute."""
    owner = await find_adapter(control, tenant, adapter)
    judged = await control.pruner.judged(owner.tenant_id, adapter)
    going = {each.version.id for each in judged if each.kept_for is None}
    if not body.dry_run:
        pruned, change = await control.pruner.prune(owner.tenant_id, adapter, actor)
        going = {version.id for version in pruned}
        await control.settle(change)
    return documents.whole([_judged(each, each.version.id in going) for each in judged], lambda each: each)


def _judged(one: Judged, pruned: bool) -> Document:
    return {
        "id": one.version.id,
        "label": one.version.label,
        "status": one.version.status.value,
        "pruned": pruned,
        "kept_for": one.kept_for,
    }


async def _servable(control: Control, tenant: str, adapter: str, reference: str) -> Version:
    found = await find_version(control, await find_adapter(control, tenant, adapter), reference)
    if found.pruned_at is not None:
        raise Conflict(f"The files of {found.label} were pruned.")
    return found


def _anchors(path: Path, count: int) -> list[list[dict[str, Any]]]:
    """So many prompts, evenly over the file. Raises Conflict for a base model without anchors."""
    if not path.is_file():
        raise Conflict("This base model has no anchors: set GRAFT_ANCHORS_FILE.")
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [json.loads(line)["messages"] for line in lines[:: max(1, len(lines) // count)][:count]]
