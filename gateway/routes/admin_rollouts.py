"""Rollouts: canaries, A/B tests and shadows of one adapter, and what people may do with them."""

import contextlib
from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, model_validator
from redis.exceptions import RedisError

from adapters import rollout_records
from adapters.types import Alias, Rollout, RolloutKind
from gateway import rollout_report
from gateway.control import Control
from gateway.errors import Conflict
from gateway.routes import admin_documents as documents
from gateway.routes.admin_access import Access, Actor, Limit
from gateway.routes.admin_adapters import find_adapter, find_version
from gateway.routes.admin_documents import Document
from training.types import Logging

router = APIRouter(prefix="/tenants/{tenant}", tags=["rollouts"])

ALL = "/adapters/{adapter}/rollouts"
ONE = ALL + "/{rollout_id}"
MAX_TOKENS = 10**12


class NewRollout(BaseModel):
    """`version`, `against`: as for a swap; without `against`, what stable serves. `share`: percent of the traffic; a
    canary takes its steps from the policy."""

    model_config = ConfigDict(extra="forbid")
    kind: Literal["canary", "ab", "shadow"] = "canary"
    version: str = Field(min_length=1, max_length=128)
    against: str | None = Field(default=None, min_length=1, max_length=128)
    share: float | None = Field(default=None, gt=0, le=100)
    budget_tokens: int | None = Field(default=None, ge=1, le=MAX_TOKENS)

    @model_validator(mode="after")
    def _fitting(self) -> "NewRollout":
        if self.kind != "canary" and self.share is None:
            raise ValueError("an A/B test and a shadow need a share")
        if self.kind == "ab" and self.share is not None and not 1 <= self.share <= 99:
            raise ValueError("both versions of an A/B test need a share of 1 at least")
        if (self.budget_tokens is not None) is not (self.kind == "shadow"):
            raise ValueError("a shadow, and nothing else, needs budget_tokens")
        if self.kind == "canary" and self.share is not None:
            raise ValueError("a canary takes its steps from the policy")
        if self.kind != "ab" and self.against is not None:
            raise ValueError("only an A/B test chooses what it compares with")
        return self


class Reason(BaseModel):
    model_config = ConfigDict(extra="forbid")
    reason: str = Field(default="by hand", min_length=1, max_length=2000)


class Promotion(Reason):
    """`to`: the next step, or all of the traffic."""

    to: Literal["live", "next"] = "live"


async def _read(control: Control, tenant_id: str, adapter: str, rollout_id: str) -> Rollout:
    async with control.sql.connect() as connection:
        return await rollout_records.get(connection, tenant_id, adapter, rollout_id)


async def _find(tenant: str, adapter: str, rollout_id: str, control: Access) -> Rollout:
    found = await find_adapter(control, tenant, adapter)
    return await _read(control, found.tenant_id, adapter, rollout_id)


Found = Annotated[Rollout, Depends(_find)]


@router.get(ALL)
async def list_rollouts(
    tenant: str, adapter: str, control: Access, after: str | None = None, limit: Limit = 20
) -> Document:
    """Newest first."""
    found = await find_adapter(control, tenant, adapter)
    async with control.sql.connect() as connection:
        rows = await rollout_records.of_adapter(connection, found.tenant_id, adapter, limit + 1, after)
    return documents.page(rows, limit, document)


@router.post(ALL, status_code=201)
async def start_rollout(
    tenant: str, adapter: str, body: NewRollout, control: Access, actor: Actor
) -> Document:
    """409 while the adapter has an open one, for a version that may not be served, or a shadow without full logging."""
    found = await find_adapter(control, tenant, adapter)
    version = await find_version(control, found, body.version)
    policy = (await control.tenants.policy(found.tenant_id)).policy
    if body.kind == "canary":
        if policy.rollout.at_once:
            raise Conflict("The policy's rollout has no steps: set rollout.steps, or swap.")
        started = await control.canaries.start(version, policy.rollout.plan(), actor)
        return await _settled(control, started)
    if body.kind == "shadow" and policy.logging is not Logging.FULL:
        raise Conflict(f"A shadow compares answers, so logging must be full, not {policy.logging}.")
    if body.against is None:
        against, _ = await control.registry.alias(found.tenant_id, adapter, Alias.STABLE)
    else:
        against = (await find_version(control, found, body.against)).id
    if against == version.id:
        raise Conflict(f"{version.label} would be compared with itself.")
    kind, share = RolloutKind(body.kind), body.share or 0.0
    started = await control.canaries.start_other(kind, version, against, share, actor, body.budget_tokens)
    return await _settled(control, started)


@router.get(ONE)
async def get_rollout(rollout: Found, control: Access) -> Document:
    """With every decision, oldest first."""
    async with control.sql.connect() as connection:
        made = await rollout_records.decisions(connection, rollout.id)
    shown = [{**each, "at": documents.time(each["at"])} for each in made]
    return {**document(rollout), "decisions": shown}


@router.get(f"{ONE}/report")
async def get_report(rollout: Found, control: Access) -> Document:
    """Both arms with every signal's effect, its interval and a verdict; of a shadow, how alike the answers are, and
    what share of the traffic it reached."""
    offered = None
    if rollout.kind is RolloutKind.SHADOW:
        with contextlib.suppress(RedisError, OSError):
            offered = await control.canaries.counts.offered(rollout.id)
    return {
        "object": "rollout.report",
        "id": rollout.id,
        "kind": rollout.kind.value,
        "version_id": rollout.version_id,
        "against_id": rollout.against_id,
        **await rollout_report.report(control.sql, rollout, offered),
    }


@router.post(f"{ONE}/pause")
async def pause_rollout(rollout: Found, body: Reason, control: Access, actor: Actor) -> Document:
    """The share stays as it is; signs of harm still end the rollout."""
    await control.canaries.pause(rollout, body.reason, actor)
    return await _settled(control, rollout)


@router.post(f"{ONE}/resume")
async def resume_rollout(rollout: Found, control: Access, actor: Actor) -> Document:
    await control.canaries.resume(rollout, actor)
    return await _settled(control, rollout)


@router.post(f"{ONE}/promote")
async def promote_rollout(rollout: Found, body: Promotion, control: Access, actor: Actor) -> Document:
    """Whatever was counted: a person decides."""
    await control.canaries.promote(rollout, body.reason, actor, one_step=body.to == "next")
    return await _settled(control, rollout)


@router.post(f"{ONE}/abort")
async def abort_rollout(rollout: Found, body: Reason, control: Access, actor: Actor) -> Document:
    """A canary goes back to what served before, also while it is watched; the others end, and what was approved of them
    meanwhile is retired."""
    await control.canaries.abort(rollout, body.reason, actor)
    return await _settled(control, rollout)


@router.get("/webhook-secret")
async def webhook_secret(tenant: str, control: Access) -> Document:
    """What this tenant's receiver verifies `webhook-signature` with (standardwebhooks.com)."""
    owner = await control.tenants.get(tenant)
    return {"object": "webhook_secret", "tenant_id": owner.id, "secret": control.webhooks.secret(owner.id)}


async def _settled(control: Control, rollout: Rollout) -> Document:
    """The rollout as it is now, and as the workers serve it."""
    await control.settle(await control.registry.position())
    return document(await _read(control, rollout.tenant_id, rollout.adapter, rollout.id))


def document(one: Rollout) -> Document:
    return {
        "object": "rollout",
        "id": one.id,
        "tenant_id": one.tenant_id,
        "adapter": one.adapter,
        "kind": one.kind.value,
        "version_id": one.version_id,
        "against_id": one.against_id,
        "status": one.status.value,
        "share": one.shares[-1],
        "shares": list(one.shares),
        "plan": asdict(one.plan),
        "budget_tokens": one.budget_tokens,
        "reason": one.reason,
        "actor": one.actor,
        "created_at": documents.time(one.created_at),
        "step_started_at": documents.time(one.step_started_at),
        "ended_at": documents.time(one.ended_at),
    }
