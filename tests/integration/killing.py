"""A process of a town killed with -9 at a step of an operation, everything started again, and what has to be true."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from adapters import audit
from adapters.errors import ArtifactMissing
from adapters.types import DEFAULT_ADAPTER, Alias, RolloutStatus, VersionStatus
from adapters.wants import Wants
from gateway.policy import Policy
from tests.integration.operations import END, Parts, Steps, aged, outcome
from tests.integration.town import Customer, Town
from training.tables import datasets

CONTROL = "control"
BEFORE = (VersionStatus.STABLE, VersionStatus.APPROVED)
POLICY = {
    "rollout": {"steps": [50, 100], "min_requests": 10**6, "step_seconds": 3600, "watch_seconds": 3600},
    "retention": {"versions": 1, "days": 0},
}
"""A canary does not move by itself."""
LEGAL = {
    "swap": (BEFORE, (VersionStatus.RETIRED, VersionStatus.STABLE)),
    "rollback": (
        (VersionStatus.RETIRED, VersionStatus.STABLE),
        (VersionStatus.STABLE, VersionStatus.ROLLED_BACK),
    ),
    "promote": (
        (VersionStatus.STABLE, VersionStatus.CANARY),
        (VersionStatus.RETIRED, VersionStatus.STABLE),
    ),
    "abort": (
        (VersionStatus.RETIRED, VersionStatus.STABLE),
        (VersionStatus.STABLE, VersionStatus.ROLLED_BACK),
    ),
    "prune": ((VersionStatus.STABLE, VersionStatus.REJECTED),) * 2,
}
"""What the two versions may be, before and after an operation."""
REPEATED = ("promote",)
"""What control does again by itself once the engine is back: it may be done by the time one looks."""


async def prepared(place: Town, operation: str) -> Customer:
    """A customer whom the operation can be done for."""
    customer = await place.customer()
    if operation == "swap":
        return customer
    await place.control.tenants.put_policy(customer.id, Policy.model_validate(POLICY), "test")
    if operation == "prune":
        newest = await place.approved(customer.id)
        for version in (customer.new, newest):
            await place.registry.set_status(version.id, VersionStatus.REJECTED)
        await _trained(place, customer)
    elif operation == "rollback":
        await place.control.swapper.swap(customer.id, DEFAULT_ADAPTER, customer.new.id, "test")
    else:
        canaries = place.control.canaries
        policy = (await place.control.tenants.policy(customer.id)).rollout()
        started = await canaries.start(customer.new, policy.plan(), "test")
        if operation == "abort":
            await canaries.promote(started, "test", "test", one_step=False)
    return customer


async def _trained(place: Town, customer: Customer) -> None:
    """As if a run had made the new version: its dataset is there, and it has learned a correction."""
    await place.control.runs.add_learned(customer.new.id, ["fb_1"])
    digest = customer.new.lineage.dataset_digest
    row = {"digest": digest, "tenant_id": customer.id, "adapter": DEFAULT_ADAPTER}
    async with place.control.sql.begin() as connection:
        await connection.execute(sa.insert(datasets).values(content={}, created_at=datetime.now(UTC), **row))


async def steps_of(place: Town, operation: str) -> Sequence[str]:
    """All that the operation goes through when nothing disturbs it, in order."""
    found: list[str] = []
    customer = await prepared(place, operation)
    steps = Steps("", found.append, asyncio.Event().wait)
    error = await outcome(operation, _parts(place, steps), customer.id, customer.new.id, steps)
    assert not error, error
    await whole(place, customer, operation, done=True)
    await gone(place, customer)
    return found


async def killed(place: Town, operation: str, victim: str, step: str) -> None:
    """The operation, the victim killed when it comes to the step, and everything as it must be."""
    customer = await prepared(place, operation)
    if victim == CONTROL:
        working = await place.working(operation, customer, step)
        await working.reached(step)
        await working.kill()
        done = True if step == END else None
    else:
        error = await _beside(place, operation, customer, victim, step)
        done = None if error and operation in REPEATED else not error
        await place.start(victim)
    await whole(place, customer, operation, done)
    await gone(place, customer)


async def _beside(place: Town, operation: str, customer: Customer, victim: str, step: str) -> str:
    """The operation goes on without the victim; the error that ends it, if any."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        reached.set()
        await go_on.wait()

    steps = Steps(step, lambda _: None, wait)
    working = asyncio.create_task(
        outcome(operation, _parts(place, steps), customer.id, customer.new.id, steps)
    )
    await asyncio.wait([working, asyncio.create_task(reached.wait())], return_when=asyncio.FIRST_COMPLETED)
    assert reached.is_set(), f"{operation} never came to {step}"
    place.kill(victim)
    go_on.set()
    return await working


def _parts(place: Town, steps: Steps) -> Parts:
    return Parts.over(place.control, place.control.cache_dir, steps.at)


async def whole(place: Town, customer: Customer, operation: str, done: bool | None) -> None:
    """One pass of the reconciler later: the record, every engine and the gateway say the same. done: whether the
    operation came to its end; None: it was killed, so either way is right."""
    await place.settled()
    await place.control.canaries.run_once()
    await place.settled()
    await place.reconciler.run_once()
    before, after = LEGAL[operation]
    versions = [await place.registry.version(version.id) for version in (customer.old, customer.new)]
    statuses = tuple(version.status for version in versions)
    assert statuses in ((before, after) if done is None else (after,) if done else (before,))
    stable = versions[statuses.index(VersionStatus.STABLE)]
    assert (await place.registry.alias(customer.id, DEFAULT_ADAPTER, Alias.STABLE))[0] == stable.id
    newest, *_ = await place.registry.alias_history(customer.id, DEFAULT_ADAPTER, Alias.STABLE)
    assert newest.version_id == stable.id
    await _rollout_agrees(place, customer, stable.id)
    wanted = set(await Wants(place.control.sql).wanted(place.control.base.digest, (), (), 100))
    for engine in place.engines:
        assert await engine.resident() == wanted
    assert not await place.reconciler.run_once()
    answer = await place.ask(customer)
    assert (answer.status_code, answer.headers.get("x-graft-version")) == (200, stable.label), answer.text
    if operation == "prune":
        await _pruned(place, customer)


async def _rollout_agrees(place: Town, customer: Customer, stable: str) -> None:
    """An open rollout's candidate has the alias if and only if it is watched."""
    for rollout in await place.control.canaries.open():
        if rollout.tenant_id == customer.id:
            assert (rollout.status is RolloutStatus.WATCHING) is (stable == customer.new.id)


async def _pruned(place: Town, customer: Customer) -> None:
    """What is marked is audited and has lost what was of use only to it; what is not has its files, and what was begun
    is ended by the next passes."""
    for version in await place.registry.versions(customer.id, DEFAULT_ADAPTER):
        if version.pruned_at is None:
            await place.store.files(version.artifact_digest)
    if (await place.registry.version(customer.new.id)).pruned_at is not None:
        await _forgotten(place, customer)
    await place.control.pruner.prune(customer.id, DEFAULT_ADAPTER, "test")
    await aged(place.control.sql)
    await place.control.pruner.sweep()
    assert (await place.registry.version(customer.new.id)).pruned_at is not None
    with pytest.raises(ArtifactMissing):
        await place.store.files(customer.new.artifact_digest)
    await _forgotten(place, customer)


async def _forgotten(place: Town, customer: Customer) -> None:
    """Of the pruned version: one entry in the audit log, nothing learned, no text of its dataset."""
    sql, version_id = place.control.sql, customer.new.id
    acts = [entry.act for entry in await audit.entries(sql, tenant_id=customer.id)]
    assert [act.subject for act in acts if act.action == "version.pruned"] == [version_id]
    assert await place.control.runs.learned([version_id]) == {version_id: frozenset()}
    async with sql.connect() as connection:
        left = sa.select(datasets.c.digest).where(datasets.c.tenant_id == customer.id)
        assert (await connection.execute(left)).all() == []


async def gone(place: Town, customer: Customer) -> None:
    """Nothing of the customer is left in the engines."""
    await place.left(customer)
    await place.settled()
    await place.reconciler.run_once()
