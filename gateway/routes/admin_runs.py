"""Runs of the learner: watched, started, stopped and judged by people."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from adapters.types import DEFAULT_ADAPTER, Adapter
from gateway.control import Control
from gateway.errors import Conflict, InvalidRequest
from gateway.routes import admin_documents as documents
from gateway.routes.admin_access import Access, Actor, Limit, Number
from gateway.routes.admin_adapters import find_adapter
from gateway.routes.admin_documents import Document
from gateway.routes.admin_versions import GO_LIVE, Approval
from training.errors import InvalidRecipe
from training.recipe import recipe_of
from training.runs import OPEN
from training.types import LEARNER_OF, RunStatus

router = APIRouter(prefix="/runs", tags=["runs"])

EVENTS_EVERY_S = 0.5


class NewRun(BaseModel):
    model_config = ConfigDict(extra="forbid")
    tenant_id: str
    """Or the external id."""
    adapter: str = DEFAULT_ADAPTER
    recipe: dict[str, Any] = Field(default_factory=dict)


class Judgement(BaseModel):
    model_config = ConfigDict(extra="forbid")
    reason: str = Field(default="", max_length=2000)


@router.get("")
async def list_runs(
    control: Access,
    tenant_id: str | None = None,
    adapter: str | None = None,
    status: RunStatus | None = None,
    after: str | None = None,
    limit: Limit = 20,
) -> Document:
    """Newest first, without the gate's prompts and answers."""
    found = await control.runs.list(
        tenant_id=None if tenant_id is None else (await control.tenants.get(tenant_id)).id,
        adapter=adapter,
        statuses=None if status is None else [status],
        after=after,
        limit=limit + 1,
    )
    return documents.page(found, limit, documents.run)


@router.post("", status_code=201)
async def create_run(body: NewRun, control: Access, actor: Actor) -> Document:
    """Train on what is there now, without waiting for a trigger. 409 while the adapter has a run, and when no learner
    holds its base model."""
    owner = await control.tenants.get(body.tenant_id)
    policy = (await control.tenants.policy(owner.id)).policy
    require_recipe(control, "recipe", policy.learning.recipe, body.recipe)
    await require_learner(control, await find_adapter(control, owner.id, body.adapter))
    run = await control.runs.create(owner.id, body.adapter, "manual", body.recipe, actor)
    return documents.run(run)


@router.get("/{run_id}")
async def get_run(run_id: str, control: Access) -> Document:
    """With the gate's whole report."""
    return documents.run_with_report(await control.runs.get(run_id))


@router.post("/{run_id}/cancel")
async def cancel_run(run_id: str, control: Access, actor: Actor) -> Document:
    return documents.run(await control.runs.cancel(run_id, actor))


@router.post("/{run_id}/approve")
async def approve_run(run_id: str, control: Access, actor: Actor, body: Approval = GO_LIVE) -> Document:
    """Let the version of a run that awaits approval go live; control swaps to it within a second."""
    return documents.run(await control.runs.approve(run_id, actor, hold=body.hold))


@router.post("/{run_id}/reject")
async def reject_run(run_id: str, body: Judgement, control: Access, actor: Actor) -> Document:
    return documents.run(await control.runs.reject(run_id, actor, body.reason))


@router.get("/{run_id}/events")
async def run_events(
    run_id: str,
    request: Request,
    control: Access,
    after: Number = 0,
    accept: Annotated[str, Header()] = "",
    last_event_id: Annotated[int | None, Header(ge=0, lt=2**63)] = None,
) -> Response:
    """The run's story: a list, or with `Accept: text/event-stream` as it happens, until the run has ended."""
    await control.runs.get(run_id)
    if "text/event-stream" in accept:
        story = _story(control, request, run_id, after if last_event_id is None else last_event_id)
        return StreamingResponse(story, media_type="text/event-stream", headers={"cache-control": "no-store"})
    events = await control.runs.events(run_id, after=after)
    return JSONResponse(documents.whole(events, documents.run_event))


async def _story(control: Control, request: Request, run_id: str, after: int) -> AsyncIterator[bytes]:
    """Events as they are written, and the run whenever its progress has changed."""
    shown: Document = {}
    while not await request.is_disconnected():
        run = await control.runs.get(run_id)
        for event in await control.runs.events(run_id, after=after):
            after = event.id
            yield _event("event", documents.run_event(event), event.id)
        state = documents.run(run)
        if state != shown:
            shown = state
            yield _event("run", state)
        if run.status not in OPEN:
            return
        await asyncio.sleep(EVENTS_EVERY_S)


def _event(kind: str, data: Document, number: int | None = None) -> bytes:
    """One server-sent event."""
    identity = b"" if number is None else f"id: {number}\n".encode()
    return identity + f"event: {kind}\n".encode() + b"data: " + orjson.dumps(data) + b"\n\n"


async def require_learner(control: Control, adapter: Adapter) -> None:
    """The first base model's runs wait for its learner; another one's are refused while nobody would work on them.

    Raises BaseNotServed, Conflict.
    """
    base = control.bases.of(adapter.base_digest)
    if base is control.base or await control.redis.exists(LEARNER_OF.format(digest=base.digest)):
        return
    raise Conflict(
        f"No learner holds {control.bases.name_of(base.digest)!r}, the base model of {adapter.name!r}: "
        f"start one with GRAFT_BASE_MODEL={base.path}."
    )


def require_recipe(control: Control, param: str, *overrides: Mapping[str, Any]) -> None:
    """What every run would fail with is refused before there is one. Raises InvalidRequest, naming `param`."""
    try:
        recipe_of(*overrides, max_rank=control.max_lora_rank)
    except InvalidRecipe as error:
        raise InvalidRequest(str(error), param=param) from error
