"""Versions by themselves: taken in, let out, judged by people, measured."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapters import audit
from adapters.acts import of_version
from adapters.base import BaseModel as Base
from adapters.drift import base_norms, drift, similarity
from adapters.errors import WrongBase
from adapters.exporting import export
from adapters.importing import Order
from adapters.statuses import approve
from adapters.types import Version, VersionStatus
from gateway.control import Control
from gateway.errors import Conflict, InvalidRequest
from gateway.routes import admin_documents as documents
from gateway.routes.access import arriving, read_all
from gateway.routes.admin_access import Access, Actor
from gateway.routes.admin_adapters import find_adapter, find_version
from gateway.routes.admin_documents import Document

router = APIRouter(prefix="/tenants/{tenant}/adapters/{adapter}/versions", tags=["versions"])

_MAX_JSON_BYTES = 64 * 1024
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {"schema": {"type": "object", "required": ["uri"]}},
        },
    }
}


class Source(BaseModel):
    """`digest`: of the archive, or of the artifact as an export names it. `accept_base`: the base model that
    the configuration names is ours under another name."""

    model_config = ConfigDict(extra="forbid")
    uri: str = Field(min_length=1, max_length=4096)
    digest: str | None = None
    accept_base: bool = False


class Approval(BaseModel):
    """`hold`: it does not go live by itself. It is retired at once, from where an A/B test or a swap takes it."""

    model_config = ConfigDict(extra="forbid")
    hold: bool = False


class Judgement(BaseModel):
    model_config = ConfigDict(extra="forbid")
    reason: str = Field(default="", max_length=2000)


GO_LIVE = Approval()
"""What an approval without a body says."""


@router.post("", status_code=201, openapi_extra=_BODY)
async def import_version(
    tenant: str,
    adapter: str,
    request: Request,
    response: Response,
    control: Access,
    actor: Actor,
    accept_base: bool = False,
    x_graft_digest: Annotated[str | None, Header()] = None,
) -> Document:
    """Take in a PEFT adapter: the body is a `.tar`, `.tar.gz` or `.zip`, or JSON naming a `uri`. 201 with the
    new version, or 200 with the one that this artifact already is: repeating an import changes nothing. It
    waits for a person's approval before anything serves it."""
    owner = await find_adapter(control, tenant, adapter)
    base = control.bases.of(owner.base_digest)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        source = _source(await read_all(request, _MAX_JSON_BYTES))
        digest, accept_base = source.digest or x_graft_digest, source.accept_base
        order = Order(owner.tenant_id, adapter, base, actor, digest, accept_base)
        version, new = await control.importer.fetch(order, source.uri)
    else:
        order = Order(owner.tenant_id, adapter, base, actor, x_graft_digest, accept_base)
        version, new = await control.importer.upload(order, arriving(request))
    if new:
        await control.settle(await control.registry.position())
    response.status_code = 201 if new else 200
    return documents.version(version)


@router.get("/{version}/artifact", response_class=StreamingResponse)
async def export_version(
    tenant: str, adapter: str, version: str, control: Access, actor: Actor
) -> StreamingResponse:
    """The version as a `.tar.gz` with its lineage. Importing it gives the artifact that `x-graft-digest`
    names."""
    found = await find_version(control, await find_adapter(control, tenant, adapter), version)
    base = control.bases.get(found.lineage.base_digest)
    gate = await control.runs.gate(found.lineage.run_id)
    pieces = await export(found, base, gate, control.store)
    act = of_version(found, "exported", actor, artifact_digest=found.artifact_digest)
    await audit.record_alone(control.sql, act)
    headers = {
        "content-disposition": f'attachment; filename="{found.adapter}-v{found.number}.tar.gz"',
        "x-graft-digest": found.artifact_digest,
    }
    return StreamingResponse(pieces, media_type="application/gzip", headers=headers)


@router.post("/{version}/approve")
async def approve_version(
    tenant: str, adapter: str, version: str, control: Access, actor: Actor, body: Approval = GO_LIVE
) -> Document:
    """Let an imported version go live; control swaps to it within a second. 409 for one that was rejected."""
    found = await _untrained(control, (tenant, adapter, version))
    async with control.sql.begin() as connection:
        await approve(connection, found.id, actor, hold=body.hold)
    return await _judged(control, found)


@router.post("/{version}/reject")
async def reject_version(
    tenant: str, adapter: str, version: str, body: Judgement, control: Access, actor: Actor
) -> Document:
    found = await _untrained(control, (tenant, adapter, version))
    await control.registry.set_status(found.id, VersionStatus.REJECTED, actor, body.reason)
    return await _judged(control, found)


@router.get("/{version}/drift")
async def version_drift(tenant: str, adapter: str, version: str, control: Access) -> Document:
    """How far the version moves the base model: ‖ΔW‖ / ‖W‖, per linear layer and over all."""
    found = await find_version(control, await find_adapter(control, tenant, adapter), version)
    base = control.bases.of(found.lineage.base_digest)
    norms = await asyncio.to_thread(base_norms, base, control.cache_dir.parent / "norms")
    async with control.measurer.turn() as factors_of:
        measured = drift(await factors_of(found, base), norms)
    return {
        "object": "drift",
        "version": found.label,
        "version_id": found.id,
        "total": measured.total,
        "modules": dict(measured.modules),
    }


@router.get("/{version}/similarity")
async def version_similarity(
    tenant: str,
    adapter: str,
    version: str,
    control: Access,
    to: Annotated[str, Query(min_length=1, max_length=200)],
) -> Document:
    """The cosine between two versions' changes of the weights. `to`: a version of this adapter, or
    `other@v7` of another adapter of the tenant."""
    owner = await find_adapter(control, tenant, adapter)
    name, at, _ = to.partition("@")
    other_owner = await find_adapter(control, tenant, name) if at else owner
    pair = [await find_version(control, owner, version), await find_version(control, other_owner, to)]
    base = _common_base(control, pair)
    async with control.measurer.turn() as factors_of:
        measured = similarity(*[await factors_of(each, base) for each in pair])
    return {
        "object": "similarity",
        "versions": [each.label for each in pair],
        "version_ids": [each.id for each in pair],
        "total": measured.total,
        "modules": dict(measured.modules),
    }


def _common_base(control: Control, pair: Sequence[Version]) -> Base:
    """Raises WrongBase for versions of two base models, whose changes cannot be compared."""
    one, other = (each.lineage.base_digest for each in pair)
    if one != other:
        raise WrongBase(one, other)
    return control.bases.of(one)


async def _untrained(control: Access, place: tuple[str, str, str]) -> Version:
    """Of a tenant, an adapter and a version's name. Raises Conflict for a version of a run."""
    tenant, adapter, reference = place
    found = await find_version(control, await find_adapter(control, tenant, adapter), reference)
    if found.lineage.run_id is not None:
        raise Conflict(f"{found.label} comes from run {found.lineage.run_id}: judge that.")
    return found


async def _judged(control: Control, version: Version) -> Document:
    """The version as it is now, and as the workers serve it."""
    await control.settle(await control.registry.position())
    return documents.version(await control.registry.version(version.id))


def _source(body: bytes) -> Source:
    try:
        return Source.model_validate(orjson.loads(body))
    except orjson.JSONDecodeError as error:
        raise InvalidRequest("The body is not JSON.") from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(step) for step in problem["loc"]) or None
        raise InvalidRequest(str(problem["msg"]), param=where) from error
