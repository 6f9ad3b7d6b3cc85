"""Tenants, keys and policies."""

from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.errors import Conflict, InvalidRequest
from gateway.key_store import Issued
from gateway.keys import ALL_SCOPES, Scope
from gateway.policy import NO_CAPS, Caps, Policy
from gateway.routes import admin_documents as documents
from gateway.routes.admin_access import Access, Actor, Expected, Limit, Moment
from gateway.routes.admin_documents import Document
from gateway.routes.admin_runs import require_recipe

router = APIRouter(tags=["tenants"])


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewTenant(Body):
    external_id: str = Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$")
    name: str | None = Field(default=None, max_length=256)


class NewKey(Body):
    name: str = Field(default="default", min_length=1, max_length=128)
    scopes: list[Scope] | None = None
    expires_at: Moment | None = None
    limits: Caps = NO_CAPS


class Rotation(Body):
    grace_seconds: float = Field(default=3600.0, ge=0, le=30 * 86400)


@router.post("/tenants", status_code=201)
async def upsert_tenant(body: NewTenant, response: Response, control: Access, actor: Actor) -> Document:
    """Idempotent by `external_id`: 201 when made, 200 when it was there. Without a `name` it keeps the one it has; at
    first that is the `external_id`."""
    tenant, created = await control.upsert_tenant(body.external_id, body.name or None, actor)
    response.status_code = 201 if created else 200
    return documents.tenant(tenant)


@router.get("/tenants")
async def list_tenants(control: Access, after: str | None = None, limit: Limit = 50) -> Document:
    return documents.page(await control.tenants.list(after=after, limit=limit + 1), limit, documents.tenant)


@router.get("/tenants/{tenant}")
async def get_tenant(tenant: str, control: Access) -> Document:
    """By our id or by the owner's external id, as everywhere below."""
    return documents.tenant(await control.tenants.get(tenant))


@router.post("/tenants/{tenant}/keys", status_code=201)
async def create_key(tenant: str, body: NewKey, control: Access, actor: Actor) -> Document:
    """The answer holds the whole key, `secret`, this once. Every worker knows it when the answer arrives."""
    owner = await control.tenants.get(tenant)
    return await _created(owner.id, body, control, actor)


@router.get("/tenants/{tenant}/keys")
async def list_keys(tenant: str, control: Access, after: str | None = None, limit: Limit = 50) -> Document:
    """Newest first."""
    owner = await control.tenants.get(tenant)
    found = await control.tenants.keys_of(owner.id, after=after, limit=limit + 1)
    return documents.page(found, limit, documents.key)


@router.delete("/tenants/{tenant}/keys/{key_id}")
async def revoke_key(tenant: str, key_id: str, control: Access, actor: Actor) -> Document:
    owner = await control.tenants.get(tenant)
    return await _revoked(owner.id, key_id, control, actor)


@router.post("/tenants/{tenant}/keys/{key_id}/rotate", status_code=201)
async def rotate_key(tenant: str, key_id: str, body: Rotation, control: Access, actor: Actor) -> Document:
    """A successor; the old key works for `grace_seconds` more."""
    owner = await control.tenants.get(tenant)
    return await _rotated(owner.id, key_id, body, control, actor)


@router.post("/keys", status_code=201)
async def create_platform_key(body: NewKey, control: Access, actor: Actor) -> Document:
    """A key that may act for any tenant, named in `X-Tenant-Id`."""
    return await _created(None, body, control, actor)


@router.get("/keys")
async def list_platform_keys(control: Access, after: str | None = None, limit: Limit = 50) -> Document:
    """Newest first."""
    found = await control.tenants.keys_of(None, after=after, limit=limit + 1)
    return documents.page(found, limit, documents.key)


@router.delete("/keys/{key_id}")
async def revoke_platform_key(key_id: str, control: Access, actor: Actor) -> Document:
    return await _revoked(None, key_id, control, actor)


@router.post("/keys/{key_id}/rotate", status_code=201)
async def rotate_platform_key(key_id: str, body: Rotation, control: Access, actor: Actor) -> Document:
    return await _rotated(None, key_id, body, control, actor)


@router.get("/tenants/{tenant}/policy")
async def get_policy(tenant: str, control: Access) -> Document:
    stored = await control.tenants.policy((await control.tenants.get(tenant)).id)
    return {"revision": stored.revision, "policy": stored.policy.model_dump(mode="json")}


@router.put("/tenants/{tenant}/policy")
async def put_policy(
    tenant: str, policy: Policy, control: Access, actor: Actor, expected: Expected
) -> Document:
    """The whole document; what is left out gets its default. `If-Match` holds the revision it was made
    from."""
    owner = await control.tenants.get(tenant)
    return await _store_policy(owner.id, policy, expected, control, actor)


@router.patch("/tenants/{tenant}/policy")
async def patch_policy(
    tenant: str, patch: dict[str, Any], control: Access, actor: Actor, expected: Expected
) -> Document:
    """A JSON merge patch (RFC 7396): what is left out stays, null brings the default back. `If-Match` as above."""
    owner = await control.tenants.get(tenant)
    stored = await control.tenants.policy(owner.id)
    if expected not in (None, stored.revision):
        raise Conflict(f"The policy is at revision {stored.revision}, not {expected}.")
    merged = merge(stored.policy.model_dump(mode="json"), patch)
    try:
        policy = Policy.model_validate(merged)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(step) for step in problem["loc"])
        raise InvalidRequest(f"{where}: {problem['msg']}", param=where) from error
    return await _store_policy(owner.id, policy, stored.revision, control, actor)


def merge(document: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """RFC 7396."""
    merged = dict(document)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            below = merged.get(name)
            merged[name] = merge(below if isinstance(below, dict) else {}, value)
        else:
            merged[name] = value
    return merged


async def _store_policy(
    tenant_id: str, policy: Policy, revision: int | None, control: Access, actor: str
) -> Document:
    require_recipe(control, "learning.recipe", policy.learning.recipe)
    stored, change = await control.tenants.put_policy(tenant_id, policy, actor, revision)
    await control.settle(change)
    return {"revision": stored.revision, "policy": stored.policy.model_dump(mode="json")}


async def _created(tenant_id: str | None, body: NewKey, control: Access, actor: str) -> Document:
    scopes = sorted(ALL_SCOPES) if body.scopes is None else sorted(set(body.scopes))
    expires_at = body.expires_at
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise InvalidRequest("expires_at is in the past", param="expires_at")
    issued = await control.tenants.create_key(tenant_id, body.name, scopes, actor, expires_at, body.limits)
    await control.settle(issued.change)
    return _issued(issued)


async def _rotated(
    tenant_id: str | None, key_id: str, body: Rotation, control: Access, actor: str
) -> Document:
    grace = timedelta(seconds=body.grace_seconds)
    issued = await control.tenants.rotate_key(tenant_id, key_id, grace, actor)
    await control.settle(issued.change)
    return _issued(issued)


async def _revoked(tenant_id: str | None, key_id: str, control: Access, actor: str) -> Document:
    await control.settle(await control.tenants.revoke_key(tenant_id, key_id, actor))
    return {"object": "key", "id": key_id, "revoked": True}


def _issued(issued: Issued) -> Document:
    return {**documents.key(issued.key), "secret": issued.secret}
