"""Adapters, their versions, the hot swap and the way back."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from adapters.errors import UnknownAdapter
from adapters.swap import SwapResult
from adapters.types import BASE_NAME, Adapter, Alias, Version
from gateway.errors import InvalidRequest, NotFound
from gateway.routes import admin_documents as documents
from gateway.routes.admin_access import Access, Actor, Expected, Limit, Number, in_utc
from gateway.routes.admin_documents import Document

router = APIRouter(prefix="/tenants/{tenant}/adapters", tags=["adapters"])

_NUMBER = re.compile(r"(?:(?P<adapter>[^@]+)@)?v?(?P<number>\d{1,9})")


class Target(BaseModel):
    """`version`: `v7`, `7`, `support@v7` or a version's id. `revision`: the alias's, as it was when the caller
    decided; 0 for an alias that never moved."""

    model_config = ConfigDict(extra="forbid")
    version: str = Field(min_length=1, max_length=128)
    revision: int | None = Field(default=None, ge=0)


class NewAdapter(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=64, pattern=r"^[a-z0-9][a-z0-9._-]*$")
    base: str = BASE_NAME
    """Name of the base model that it belongs to, for good."""


@router.get("")
async def list_adapters(
    tenant: str, control: Access, after: str | None = None, limit: Limit = 50
) -> Document:
    """By name."""
    owner = await control.tenants.get(tenant)
    found = await control.registry.adapters_of(owner.id, after, limit + 1)
    counts = await control.pruner.retention.counts(owner.id)
    shown = [await _shown(control, each, counts.get(each.name, {})) for each in found]
    return documents.page(shown, limit, lambda each: each)


@router.post("", status_code=201)
async def create_adapter(tenant: str, body: NewAdapter, control: Access, actor: Actor) -> Document:
    """Another adapter of this tenant; every tenant has `default`. Repeating it changes nothing; 409 when it belongs to
    another base model."""
    owner = await control.tenants.get(tenant)
    if body.name in ("none", *control.bases.all):
        raise InvalidRequest(f"{body.name!r} names a base model.", param="name")
    made = await control.add_adapter(owner.id, body.name, control.bases.named(body.base), actor)
    await control.settle(await control.registry.position())
    return await _counted(control, made)


@router.get("/{adapter}")
async def get_adapter(tenant: str, adapter: str, control: Access) -> Document:
    """With the newest moves of its stable alias."""
    found = await find_adapter(control, tenant, adapter)
    history = await control.registry.alias_history(found.tenant_id, adapter, Alias.STABLE, 50)
    return {**await _counted(control, found), "history": [documents.move(move) for move in history]}


@router.get("/{adapter}/versions")
async def list_versions(
    tenant: str,
    adapter: str,
    control: Access,
    after: str | None = None,
    limit: Limit = 20,
    order: Literal["asc", "desc"] = "desc",
) -> Document:
    found = await find_adapter(control, tenant, adapter)
    versions = await control.registry.versions(found.tenant_id, adapter, after, limit + 1, order)
    return documents.page(versions, limit, documents.version)


@router.get("/{adapter}/versions/{version}")
async def get_version(tenant: str, adapter: str, version: str, control: Access) -> Document:
    """With its lineage, what its run's gate decided, and which corrections it has learned."""
    found = await find_version(control, await find_adapter(control, tenant, adapter), version)
    learned = await control.runs.learned([found.id])
    pinned = found.id in await control.wants.pins()
    return {
        **documents.version(found),
        "gate": await control.runs.gate(found.lineage.run_id),
        "pinned": pinned,
        "learned": sorted(learned[found.id]),
    }


@router.put("/{adapter}/aliases/stable")
async def swap(
    tenant: str,
    adapter: str,
    body: Target,
    response: Response,
    control: Access,
    actor: Actor,
    expected: Expected,
) -> Document:
    """The hot swap: load, probe, flip, drain, unload. 200 when every live worker serves it, 202 when one is
    late; it then follows by polling, which `Location` tells of, and the reconciler unloads what was left. 409 when
    the alias is not at the revision that `If-Match` or the body names."""
    expected = body.revision if expected is None else expected
    found = await find_adapter(control, tenant, adapter)
    version = await find_version(control, found, body.version)
    result = await control.swapper.swap(found.tenant_id, adapter, version.id, actor, expected)
    return await _moved(control, response, result)


@router.post("/{adapter}/rollback")
async def rollback(
    tenant: str, adapter: str, response: Response, control: Access, actor: Actor, expected: Expected
) -> Document:
    """One step back along the line of stable versions, at its end to the base model. 409 when the alias is not
    at the revision that `If-Match` names."""
    found = await find_adapter(control, tenant, adapter)
    result = await control.swapper.rollback(found.tenant_id, adapter, actor, expected)
    return await _moved(control, response, result)


@router.get("/{adapter}/aliases/{alias}/history")
async def alias_history(
    tenant: str,
    adapter: str,
    alias: Alias,
    control: Access,
    at: Annotated[AwareDatetime, AfterValidator(in_utc)] | None = None,
    after: Number | None = None,
    limit: Limit = 50,
) -> Document:
    """The alias's moves, newest first; with `at` (ISO 8601 with its time zone) the one that was in force then, or
    none: the base model answered."""
    found = await find_adapter(control, tenant, adapter)
    if at is None:
        moves = await control.registry.alias_history(found.tenant_id, adapter, alias, limit + 1, after)
    else:
        then = await control.registry.alias_at(found.tenant_id, adapter, alias, at)
        moves = [] if then is None else [then]
    labels = {
        name: (await control.registry.version(name)).label
        for name in {move.version_id for move in moves if move.version_id}
    }
    nothing = "base" if alias is Alias.STABLE else None
    shown = [
        {**documents.move(move), "version": labels.get(move.version_id or "", nothing)} for move in moves
    ]
    return documents.page(shown, limit, lambda each: each)


async def _moved(control: Access, response: Response, result: SwapResult) -> Document:
    if not result.visible:
        response.status_code = 202
        response.headers["location"] = f"/admin/v1/changes/{result.change}"
    named = [name for name in (result.version_id, result.previous_id) if name is not None]
    return documents.swap(result, {name: (await control.registry.version(name)).label for name in named})


async def find_adapter(control: Access, tenant: str, name: str) -> Adapter:
    """Raises NotFound for another tenant's adapter as for one that does not exist."""
    owner = await control.tenants.get(tenant)
    found = await control.registry.adapter(owner.id, name)
    if found is None:
        raise UnknownAdapter(owner.external_id, name)
    return found


async def find_version(control: Access, adapter: Adapter, reference: str) -> Version:
    match = _NUMBER.fullmatch(reference)
    if match is None:
        found = await control.registry.version(reference)
    elif match["adapter"] in (None, adapter.name):
        number = int(match["number"])
        found = await control.registry.version_by_number(adapter.tenant_id, adapter.name, number)
    else:
        raise NotFound(f"{reference} is not a version of {adapter.name}.", param="version")
    if (found.tenant_id, found.adapter) != (adapter.tenant_id, adapter.name):
        raise NotFound(f"There is no version {reference}.", param="version")
    return found


async def _counted(control: Access, adapter: Adapter) -> Document:
    counts = await control.pruner.retention.counts(adapter.tenant_id)
    return await _shown(control, adapter, counts.get(adapter.name, {}))


async def _shown(control: Access, adapter: Adapter, versions: Mapping[str, int]) -> Document:
    base = control.bases.name_of(adapter.base_digest)
    return documents.adapter(adapter, base, await _aliases(control, adapter), versions)


async def _aliases(control: Access, adapter: Adapter) -> Document:
    """As `documents.adapter` takes them; aliases that were never set are left out."""
    shown: Document = {}
    for alias in Alias:
        version_id, revision = await control.registry.alias(adapter.tenant_id, adapter.name, alias)
        if revision:
            label = (await control.registry.version(version_id)).label if version_id else None
            shown[alias.value] = {"version_id": version_id, "version": label, "revision": revision}
    return shown
