"""What a tenant's webhook hears of runs, over a record."""

from typing import Any

import pytest
import sqlalchemy as sa

from adapters.types import Lineage, VersionStatus
from gateway.policy import Policy
from gateway.run_notices import RunNotices
from gateway.tables import webhook_calls
from tests.unit.gateway.rollout_world import World
from training.outbox import Outbox
from training.runs import RunStore
from training.types import Run, RunStatus

HOOK = {"rollout": {"webhook": "https://example.com/hook"}}
REPORT = {
    "verdict": "fail",
    "checks": [{"name": "no regression", "verdict": "fail", "says": "4 of 300 broke", "numbers": {}}],
    "cases": [{"prompt": "a secret of theirs"}],
}


def notices(world: World) -> RunNotices:
    return RunNotices(world.sql, world.registry, world.tenants, RunStore(world.sql))


async def stopped(world: World, status: RunStatus, policy: dict[str, Any] = HOOK) -> Run:
    """A run whose version was judged."""
    await world.tenants.put_policy("ten_a", Policy.model_validate(policy), "test")
    runs = RunStore(world.sql)
    run = await runs.create("ten_a", "default", "manual")
    await runs.claim("learner")
    lineage = Lineage("sha256:base", run_id=run.id)
    made = await world.registry.register(
        "ten_a", "default", world.artifact, lineage, {}, status=VersionStatus.GATING
    )
    await runs.update(run.id, "learner", version_id=made.id, report=REPORT)
    await runs.finish(run.id, "learner", status, "did not pass the gate")
    return run


async def calls(world: World) -> list[dict[str, Any]]:
    async with world.sql.connect() as connection:
        return list((await connection.execute(sa.select(webhook_calls.c.body))).scalars())


async def test_a_version_that_fails_its_gate_is_told_of_with_every_check(world: World) -> None:
    run = await stopped(world, RunStatus.REJECTED)
    assert await notices(world).run_once() == 1
    (body,) = await calls(world)
    assert (body["type"], body["data"]["run_id"], body["data"]["version"]) == (
        "run.rejected",
        run.id,
        "default@v1",
    )
    assert body["data"]["reason"] == "did not pass the gate"
    assert body["data"]["checks"] == [{"name": "no regression", "verdict": "fail", "says": "4 of 300 broke"}]
    assert "secret" not in str(body)


async def test_it_is_told_once(world: World) -> None:
    await stopped(world, RunStatus.REJECTED)
    assert [await notices(world).run_once() for _ in range(2)] == [1, 0]


async def test_a_person_is_called_and_what_the_person_decides_is_told_too(world: World) -> None:
    run = await stopped(world, RunStatus.AWAITING_APPROVAL)
    await RunStore(world.sql).reject(run.id, "admin", "too long")
    await notices(world).run_once()
    told = [(body["type"], body["data"]["reason"]) for body in await calls(world)]
    assert told == [("run.awaiting_approval", "did not pass the gate"), ("run.rejected", "too long")]


@pytest.mark.parametrize("status", [RunStatus.SUCCEEDED, RunStatus.CANCELLED])
async def test_other_ends_are_not_told(world: World, status: RunStatus) -> None:
    await stopped(world, status)
    assert await notices(world).run_once() == 0


async def test_without_a_webhook_nothing_stays_owed(world: World) -> None:
    await stopped(world, RunStatus.REJECTED, {})
    assert await notices(world).run_once() == 0
    async with world.sql.connect() as connection:
        owed = sa.select(sa.func.count()).select_from(sa.table("outbox"))
        assert (await connection.execute(owed)).scalar_one() == 0


async def test_notices_do_not_wait_for_memory_nor_memory_for_them(world: World) -> None:
    await stopped(world, RunStatus.REJECTED)
    assert await Outbox(world.sql).pending(min_age_s=0.0) == []
