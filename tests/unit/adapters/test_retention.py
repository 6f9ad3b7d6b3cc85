import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import changes, tables
from adapters.errors import ArtifactMissing
from adapters.registry import Registry
from adapters.retention import GRACE, ROLLBACKS, SWEPT_AT_ONCE, Keep, Retention, mark
from adapters.types import Alias, Lineage, Version, VersionStatus
from adapters.wants import Wants
from tests.unit.adapters.conftest import BASE, MakeVersion

ACME = "ten_acme", "default"
NOTHING = Keep(newest=0, days=0.0)
APPROVED, RETIRED, REJECTED = VersionStatus.APPROVED, VersionStatus.RETIRED, VersionStatus.REJECTED


@pytest.fixture
def retention(database: AsyncEngine) -> Retention:
    return Retention(database)


async def going(retention: Retention, keep: Keep = NOTHING, **busy: str) -> list[int]:
    judged = await retention.judged(*ACME, keep, busy)
    return [each.version.number for each in judged if each.kept_for is None]


async def pruned(database: AsyncEngine, adapter: str = "default") -> tuple[Sequence[Version], int]:
    """All of acme's that nothing needs is marked; returns it and the position in the change log."""
    async with database.begin() as connection:
        change = await changes.append(connection, "ten_acme")
        return await mark(connection, "ten_acme", adapter, NOTHING, {}, "ada"), change


async def age(database: AsyncEngine, by: timedelta) -> None:
    """As if everything that was pruned had been so earlier."""
    table = tables.versions
    async with database.begin() as connection:
        query = sa.update(table).where(table.c.pruned_at.is_not(None))
        await connection.execute(query.values(pruned_at=datetime.now(UTC) - by))


async def test_only_versions_whose_life_has_ended_go(retention: Retention, make_version: MakeVersion) -> None:
    for statuses in ((), (VersionStatus.GATING,), (APPROVED,), (APPROVED, RETIRED), (REJECTED,)):
        await make_version(*statuses)
    assert await going(retention) == [5, 4]


async def test_the_newest_and_the_young_stay(retention: Retention, make_version: MakeVersion) -> None:
    for _ in range(4):
        await make_version(REJECTED)
    assert await going(retention, Keep(newest=3, days=0.0)) == [1]
    assert await going(retention, Keep(newest=0, days=1.0)) == []


async def test_what_an_alias_points_to_or_a_rollback_goes_to_stays(
    retention: Retention, registry: Registry, make_version: MakeVersion
) -> None:
    for _ in range(ROLLBACKS + 3):
        version = await make_version(APPROVED)
        await registry.move_alias(*ACME, Alias.STABLE, version.id, "ada")
    assert await going(retention) == [2, 1]


async def test_what_is_pinned_continued_or_busy_stays(
    retention: Retention, registry: Registry, database: AsyncEngine, make_version: MakeVersion
) -> None:
    pinned, parent, busy, free = [await make_version(REJECTED) for _ in range(4)]
    await Wants(database).pin(pinned.id, "ada")
    await registry.register(*ACME, "sha256:x", Lineage(BASE, parent_id=parent.id), {})
    assert await going(retention, **{busy.id: "a run needs it"}) == [free.number]


async def test_what_a_version_was_merged_from_stays_as_long_as_that_has_its_files(
    retention: Retention, registry: Registry, database: AsyncEngine, make_version: MakeVersion
) -> None:
    """Whichever of the tenant's adapters the merge belongs to."""
    heavier, lighter, free = [await make_version(REJECTED) for _ in range(3)]
    await registry.ensure_adapter("ten_acme", "mixed", BASE)
    sources = [{"version_id": each.id, "weight": 0.5} for each in (heavier, lighter)]
    lineage = Lineage(BASE, {"merge": {"sources": sources, "method": "ties"}}, run_id="run_1")
    merged = await registry.register("ten_acme", "mixed", "sha256:x", lineage, {})
    assert await going(retention) == [free.number]
    judged = await retention.judged(*ACME, NOTHING, {})
    assert {each.version.id: each.kept_for for each in judged}[lighter.id] == "a merge was made from it"
    await registry.set_status(merged.id, REJECTED)
    await pruned(database, "mixed")
    assert await going(retention) == [free.number, lighter.number, heavier.number]


async def test_what_an_imported_file_says_that_it_was_merged_from_keeps_nothing(
    retention: Retention, registry: Registry, make_version: MakeVersion
) -> None:
    free = await make_version(REJECTED)
    for number, told in enumerate(({"sources": [{"version_id": free.id}]}, {"sources": 5}, "a merge", 5)):
        await registry.register(
            *ACME, f"sha256:{number}", Lineage(BASE, {"merge": told}, source="upload"), {}
        )
    assert await going(retention) == [free.number]


async def test_a_version_that_was_pruned_is_no_longer_routed_to_or_restored(
    registry: Registry, database: AsyncEngine, make_version: MakeVersion
) -> None:
    version = await make_version(APPROVED, RETIRED)
    marked, change = await pruned(database)
    assert ([each.id for each in marked], change) == ([version.id], await registry.position())
    (routes,) = await registry.routes("ten_acme")
    assert not routes.versions
    with pytest.raises(ArtifactMissing):
        await registry.move_alias(*ACME, Alias.STABLE, version.id, "ada")
    assert (await registry.version(version.id)).pruned_at is not None
    assert (await pruned(database))[0] == []


async def rejected(registry: Registry, digest: str) -> Version:
    version = await registry.register(*ACME, digest, Lineage(BASE), {})
    await registry.set_status(version.id, REJECTED)
    return version


async def test_files_go_after_a_while_and_only_when_nobody_holds_or_shares_them(
    retention: Retention, registry: Registry, database: AsyncEngine
) -> None:
    held, shared, alone = [await rejected(registry, f"sha256:{name}") for name in ("held", "shared", "alone")]
    await pruned(database)
    await registry.register(*ACME, shared.artifact_digest, Lineage(BASE), {})
    assert await retention.leftovers([held.id]) == []
    await age(database, 2 * GRACE)
    assert await retention.leftovers([held.id]) == [alone.artifact_digest]
    assert set(await retention.leftovers([])) == {alone.artifact_digest, held.artifact_digest}


async def test_one_pass_takes_so_many_artifacts_and_the_next_the_rest(
    retention: Retention, registry: Registry, database: AsyncEngine
) -> None:
    every = {
        (await rejected(registry, f"sha256:{name}")).artifact_digest for name in range(SWEPT_AT_ONCE + 1)
    }
    await pruned(database)
    await age(database, 2 * GRACE)
    found = await retention.leftovers([])
    assert len(found) == SWEPT_AT_ONCE
    for digest in found:
        async with retention.sweeping(digest, []) as unused:
            assert unused
    assert set(await retention.leftovers([])) == every - set(found)


async def test_files_are_left_until_they_were_swept_however_long_that_takes(
    retention: Retention, registry: Registry, database: AsyncEngine
) -> None:
    version = await rejected(registry, "sha256:a")
    await pruned(database)
    await age(database, timedelta(days=90))
    assert await retention.leftovers([]) == [version.artifact_digest]
    with pytest.raises(OSError, match="down"):
        async with retention.sweeping(version.artifact_digest, []) as unused:
            raise OSError(f"the store is down, unused: {unused}")
    assert await retention.leftovers([]) == [version.artifact_digest]
    async with retention.sweeping(version.artifact_digest, []) as unused:
        assert unused
    assert await retention.leftovers([]) == []


async def test_files_that_come_back_and_go_again_are_swept_again(
    retention: Retention, registry: Registry, database: AsyncEngine
) -> None:
    for _ in range(2):
        version = await rejected(registry, "sha256:a")
        await pruned(database)
        await age(database, 2 * GRACE)
        assert await retention.leftovers([]) == [version.artifact_digest]
        async with retention.sweeping(version.artifact_digest, []) as unused:
            assert unused


async def test_files_that_somebody_needs_again_are_not_swept(
    retention: Retention, registry: Registry, database: AsyncEngine
) -> None:
    version = await rejected(registry, "sha256:a")
    await pruned(database)
    await age(database, 2 * GRACE)
    assert await retention.leftovers([]) == [version.artifact_digest]
    async with retention.sweeping(version.artifact_digest, [version.id]) as unused:
        assert not unused
    await registry.register(*ACME, version.artifact_digest, Lineage(BASE), {})
    async with retention.sweeping(version.artifact_digest, []) as unused:
        assert not unused


async def test_no_version_is_registered_while_its_files_are_swept(
    retention: Retention, registry: Registry, database: AsyncEngine
) -> None:
    version = await rejected(registry, "sha256:a")
    await pruned(database)
    await age(database, 2 * GRACE)
    async with retention.sweeping(version.artifact_digest, []):
        again = asyncio.create_task(registry.register(*ACME, version.artifact_digest, Lineage(BASE), {}))
        assert not (await asyncio.wait([again], timeout=0.3))[0]
    assert (await again).number == 2


async def test_versions_are_counted_by_what_became_of_them(
    retention: Retention, database: AsyncEngine, make_version: MakeVersion
) -> None:
    for statuses in ((), (APPROVED,), (APPROVED,), (REJECTED,)):
        await make_version(*statuses)
    await pruned(database)
    assert await retention.counts("ten_acme") == {"default": {"registered": 1, "approved": 2, "pruned": 1}}
    assert await retention.counts("ten_globex") == {}


async def test_adapters_with_something_to_judge_are_found_in_turn(
    retention: Retention, make_version: MakeVersion
) -> None:
    for tenant_id in ("ten_acme", "ten_globex"):
        await make_version(REJECTED, tenant_id=tenant_id)
    assert await retention.grown(("", ""), 1) == [ACME]
    assert await retention.grown(ACME, 9) == [("ten_globex", "default")]
