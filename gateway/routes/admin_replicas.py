"""The engine replicas: what each holds and does, and taking one out of service and back."""

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from redis.exceptions import RedisError

from adapters.engine import Engine
from adapters.errors import AdaptersError, EngineError, WorkersUnseen
from gateway.control import Control
from gateway.errors import Conflict, NotFound
from gateway.routes import admin_documents as documents
from gateway.routes.admin_access import Access, Actor
from gateway.routes.admin_documents import Document
from gateway.workers import WorkerState, leases_of

router = APIRouter(prefix="/replicas", tags=["replicas"])


class Named(BaseModel):
    """A replica by its id, which is its URL."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1, max_length=512)


@router.get("")
async def replicas(control: Access) -> Document:
    """What each engine holds, and how many requests are in flight there and on each version."""
    workers, drained = await _everyone(control), await control.drains.urls()
    shown = await asyncio.gather(*(_replica(control, each, workers, drained) for each in control.engines))
    live = await live_workers(control) if workers is None else workers
    return {**documents.whole(shown, lambda each: each), "workers": [worker(each) for each in live]}


@router.post("/drain")
async def drain(body: Named, control: Access, actor: Actor) -> Document:
    """Have a replica get no new requests: they go to the others of its base model, which load what it held. It is
    `drained`, and may be ended, when every worker knows and its last request has ended. It stays out until
    it is returned. 409 where no other replica could take its requests."""
    engine = _engine(control, body.id)
    drained = await control.drains.urls()
    alike = [each for each in control.engines if each.base_digest == engine.base_digest]
    others = [each for each in alike if each.url not in {engine.url, *drained}]
    if not any(await asyncio.gather(*(each.healthy() for each in others))):
        raise Conflict(f"No other replica of its base model answers and takes requests: {engine.url} stays.")
    await control.drains.begin(engine.url, actor)
    await control.workers.look_now()
    return await _one(control, engine)


@router.post("/return")
async def put_back(body: Named, control: Access, actor: Actor) -> Document:
    """Have a drained replica get requests again."""
    engine = _engine(control, body.id)
    await control.drains.end(engine.url, actor)
    await control.workers.look_now()
    return await _one(control, engine)


async def live_workers(control: Control) -> Sequence[WorkerState]:
    """None while Redis is away."""
    try:
        return await control.workers.live()
    except (RedisError, OSError):
        return []


def worker(one: WorkerState) -> Document:
    return {"id": one.id, "pid": one.pid, "change": one.change, "leases": dict(one.leases)}


def _engine(control: Control, url: str) -> Engine:
    for engine in control.engines:
        if engine.url == url:
            return engine
    known = ", ".join(engine.url for engine in control.engines)
    raise NotFound(f"There is no replica {url}; there are {known}.", param="id")


async def _one(control: Control, engine: Engine) -> Document:
    return await _replica(control, engine, await _everyone(control), await control.drains.urls())


async def _everyone(control: Control) -> Sequence[WorkerState] | None:
    """None where it cannot be told who lives."""
    try:
        return await control.workers.everyone()
    except WorkersUnseen:
        return None


async def _replica(
    control: Control, engine: Engine, workers: Sequence[WorkerState] | None, drained: Collection[str]
) -> Document:
    running, drain = None, None
    if workers is not None:
        running = sum(each.running.get(engine.url, 0) for each in workers)
    if engine.url in drained:
        told = workers is not None and all(engine.url in each.drained for each in workers)
        drain = "drained" if told and not running else "draining"
    return {
        "id": engine.url,
        "object": "replica",
        "base": control.bases.name_of(engine.base_digest),
        "drain": drain,
        "in_flight": running,
        **await _holding(control, engine, leases_of(workers or ())),
    }


async def _holding(control: Control, engine: Engine, leases: Counter[str]) -> Document:
    """An engine that does not answer is shown as such, not left out."""
    try:
        resident = sorted(await engine.resident())
    except EngineError as error:
        return {"healthy": False, "error": error.detail, "resident": []}
    held = [
        {"version_id": name, "version": await _label(control, name), "leases": leases[name]}
        for name in resident
    ]
    return {"healthy": await engine.healthy(), "resident": resident, "versions": held}


async def _label(control: Control, version_id: str) -> str | None:
    try:
        return (await control.registry.version(version_id)).label
    except AdaptersError:
        return None
