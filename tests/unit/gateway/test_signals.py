"""What of the journal counts for a rollout."""

from datetime import UTC, datetime

from adapters.rollout import Signal
from adapters.types import RolloutKind
from gateway import signals
from tests.unit.gateway.rollout_world import World, answered, canary


async def test_who_gets_the_candidate_because_its_swap_is_under_way_is_no_unit_of_its_step(
    world: World,
) -> None:
    version, rollout = await canary(world)
    await answered(world, 5, version=version.id, rollout=rollout.reference())
    await answered(world, 7, version=version.id, rollout=rollout.reference(), low=0.5, flaw="error")
    await answered(world, 9, version=None, rollout=rollout.reference(), low=0.5)
    async with world.sql.connect() as connection:
        (step,) = await signals.read_steps(connection, rollout)
    assert (step.candidate.units, step.stable.units) == (5, 9)
    assert step.candidate.bad[Signal.ERROR] == 0


async def test_versions_that_were_asked_for_by_name_are_no_traffic(world: World) -> None:
    version = await world.approved()
    asked = (("candidate", None), ("pinned", None), ("shadow", "rol_1/0"))
    drawn = (("candidate", "rol_1/0"), ("stable", "rol_1/0"), ("stable", None), ("b", "rol_2/0"))
    for number, (arm, rollout) in enumerate([*asked, *drawn]):
        await answered(world, 1 + number, version=version.id, rollout=rollout, arm=arm)
    async with world.sql.connect() as connection:
        seen = await signals.traffic(connection, "ten_a", "default", datetime.now(UTC), 60)
    assert seen == 4 + 5 + 6 + 7


async def test_what_is_slow_is_slower_than_nine_tenths_of_twenty_answers_before(world: World) -> None:
    stable = await world.approved()
    await world.rollouts.run_once()
    for took, count in ((10.0, 18), (50.0, 1)):
        await answered(world, count, version=stable.id, rollout=None, latency_ms=took)
    async with world.sql.connect() as connection:
        assert (await signals.read_before(connection, "ten_a", "default", stable.id)).slow_ms is None
    await answered(world, 1, version=stable.id, rollout=None, latency_ms=90.0)
    version = await world.approved()
    test = await world.canaries.start_other(RolloutKind.AB, version, stable.id, 50, "test")
    assert test.slow_ms == 50.0
    for number, took in enumerate((10.0, 50.0, 51.0)):
        low = number / 10
        await answered(world, 1, version=version.id, rollout=test.reference(), low=low, latency_ms=took)
    async with world.sql.connect() as connection:
        (step,) = await signals.read_steps(connection, test)
    assert (step.candidate.units, step.candidate.bad[Signal.SLOW]) == (3, 1)
