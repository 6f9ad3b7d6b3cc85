import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import changes
from adapters.errors import (
    ConflictError,
    IllegalTransition,
    UnknownAdapter,
    UnknownVersion,
    WrongBase,
)
from adapters.records import read_routes
from adapters.registry import Registry
from adapters.tables import versions
from adapters.types import Alias, Lineage, VersionStatus
from tests.unit.adapters.conftest import BASE, MakeVersion

ACME = ("ten_acme", "default")
APPROVED = VersionStatus.APPROVED


async def move(registry: Registry, version_id: str | None, **more: Any) -> Any:
    return await registry.move_alias(*ACME, Alias.STABLE, version_id, "ada", **more)


async def test_an_adapter_is_made_once_however_many_ask_at_once(database: AsyncEngine) -> None:
    registry = Registry(database)
    made = await asyncio.gather(*(registry.ensure_adapter(*ACME, BASE) for _ in range(5)))
    assert len(set(made)) == 1
    assert await registry.adapters_of("ten_acme") == [made[0]]


async def test_an_adapter_belongs_to_one_base_model(registry: Registry) -> None:
    with pytest.raises(WrongBase):
        await registry.ensure_adapter(*ACME, "sha256:another")


async def test_versions_registered_at_once_get_numbers_without_gaps(registry: Registry) -> None:
    made = await asyncio.gather(*(registry.register(*ACME, "sha256:a", Lineage(BASE), {}) for _ in range(6)))
    assert sorted(version.number for version in made) == [1, 2, 3, 4, 5, 6]


async def test_a_version_is_read_back_as_it_was_registered(registry: Registry) -> None:
    lineage = Lineage(BASE, {"rank": 16}, "sha256:data", "ver_parent", "run_1")
    made = await registry.register(*ACME, "sha256:a", lineage, {"loss": 0.5})
    assert await registry.version(made.id) == made
    assert await registry.version_by_number(*ACME, made.number) == made
    assert (made.lineage, made.metrics, made.created_at.tzinfo) == (lineage, {"loss": 0.5}, UTC)


async def test_a_run_registers_one_version_however_often_it_does(registry: Registry) -> None:
    lineage = Lineage(BASE, run_id="run_1")
    made = await asyncio.gather(*(registry.register(*ACME, "sha256:a", lineage, {}) for _ in range(3)))
    assert {version.id for version in made} == {made[0].id}
    assert await registry.version_of_run(*ACME, "run_1") == made[0]
    assert await registry.version_of_run("ten_other", "default", "run_1") is None


async def test_a_version_of_another_base_model_is_refused(registry: Registry) -> None:
    with pytest.raises(WrongBase):
        await registry.register(*ACME, "sha256:a", Lineage("sha256:another"), {})


async def test_a_version_needs_its_adapter(registry: Registry) -> None:
    with pytest.raises(UnknownAdapter):
        await registry.register("ten_acme", "nobody", "sha256:a", Lineage(BASE), {})


async def test_a_version_may_begin_in_its_gate(registry: Registry) -> None:
    made = await registry.register(*ACME, "sha256:a", Lineage(BASE), {}, VersionStatus.GATING)
    assert [version.id for version in await registry.with_status(VersionStatus.GATING)] == [made.id]


async def test_a_version_cannot_begin_as_stable(registry: Registry) -> None:
    with pytest.raises(ValueError, match="cannot begin as stable"):
        await registry.register(*ACME, "sha256:a", Lineage(BASE), {}, VersionStatus.STABLE)


async def test_pages_of_versions_follow_one_another(registry: Registry, make_version: MakeVersion) -> None:
    made = [await make_version() for _ in range(3)]
    first = await registry.versions(*ACME, limit=2)
    rest = await registry.versions(*ACME, after=first[-1].id, limit=2)
    assert [version.id for version in [*first, *rest]] == [version.id for version in reversed(made)]


async def test_pages_also_go_upwards(registry: Registry, make_version: MakeVersion) -> None:
    made = [await make_version() for _ in range(3)]
    page = await registry.versions(*ACME, after=made[0].id, order="asc")
    assert [version.number for version in page] == [2, 3]


async def test_a_foreign_version_is_no_place_to_continue_from(
    registry: Registry, make_version: MakeVersion
) -> None:
    foreign = await make_version(tenant_id="ten_globex")
    with pytest.raises(UnknownVersion):
        await registry.versions(*ACME, after=foreign.id)


async def test_an_illegal_transition_changes_nothing(registry: Registry, make_version: MakeVersion) -> None:
    version = await make_version(VersionStatus.REJECTED)
    with pytest.raises(IllegalTransition):
        await registry.set_status(version.id, APPROVED)
    assert (await registry.version(version.id)).status is VersionStatus.REJECTED


async def test_setting_the_status_that_a_version_has_is_no_error(
    registry: Registry, make_version: MakeVersion
) -> None:
    version = await make_version(APPROVED)
    await registry.set_status(version.id, APPROVED)


async def test_the_status_of_nothing_cannot_be_set(registry: Registry) -> None:
    with pytest.raises(UnknownVersion):
        await registry.set_status("ver_none", APPROVED)


async def test_moving_stable_retires_the_version_it_leaves(
    registry: Registry, make_version: MakeVersion
) -> None:
    old, new = await make_version(APPROVED), await make_version(APPROVED)
    await move(registry, old.id)
    await move(registry, new.id)
    assert (await registry.version(old.id)).status is VersionStatus.RETIRED
    assert (await registry.version(new.id)).status is VersionStatus.STABLE


async def test_rolling_back_marks_the_version_it_leaves(
    registry: Registry, make_version: MakeVersion
) -> None:
    version = await make_version(APPROVED)
    await move(registry, version.id)
    await move(registry, None, rolled_back=True)
    assert (await registry.version(version.id)).status is VersionStatus.ROLLED_BACK
    assert (await registry.alias(*ACME, Alias.STABLE))[0] is None


async def test_a_version_that_was_not_approved_cannot_be_moved_to(
    registry: Registry, make_version: MakeVersion
) -> None:
    version = await make_version(VersionStatus.GATING)
    with pytest.raises(IllegalTransition):
        await move(registry, version.id)
    assert await registry.alias(*ACME, Alias.STABLE) == (None, 0)
    assert await registry.alias_history(*ACME, Alias.STABLE) == []


async def test_a_foreign_version_does_not_exist_for_an_alias(
    registry: Registry, make_version: MakeVersion
) -> None:
    foreign = await make_version(APPROVED, tenant_id="ten_globex")
    with pytest.raises(UnknownVersion):
        await move(registry, foreign.id)


async def test_a_stale_revision_is_a_conflict(registry: Registry, make_version: MakeVersion) -> None:
    one, two = await make_version(APPROVED), await make_version(APPROVED)
    await move(registry, one.id, expected_revision=0)
    with pytest.raises(ConflictError):
        await move(registry, two.id, expected_revision=0)
    assert await registry.alias(*ACME, Alias.STABLE) == (one.id, 1)


async def test_of_two_moves_from_one_revision_one_wins(registry: Registry, make_version: MakeVersion) -> None:
    versions = [await make_version(APPROVED) for _ in range(4)]
    outcomes = await asyncio.gather(
        *(move(registry, version.id, expected_revision=0) for version in versions), return_exceptions=True
    )
    assert sum(isinstance(outcome, ConflictError) for outcome in outcomes) == 3
    assert len(await registry.alias_history(*ACME, Alias.STABLE)) == 1


async def test_history_tells_every_move_newest_first(registry: Registry, make_version: MakeVersion) -> None:
    one, two = await make_version(APPROVED), await make_version(APPROVED)
    for version in (one, two):
        await move(registry, version.id)
    history = await registry.alias_history(*ACME, Alias.STABLE)
    assert [(row.version_id, row.previous_id, row.actor) for row in history] == [
        (two.id, one.id, "ada"),
        (one.id, None, "ada"),
    ]


async def test_a_rollback_goes_to_the_version_before(registry: Registry, make_version: MakeVersion) -> None:
    one, two = await make_version(APPROVED), await make_version(APPROVED)
    await move(registry, one.id)
    assert await registry.previous_stable(*ACME) is None
    await move(registry, two.id)
    assert await registry.previous_stable(*ACME) == one.id


async def test_a_rollback_passes_versions_that_were_pruned(
    registry: Registry, database: AsyncEngine, make_version: MakeVersion
) -> None:
    one, two, three = [await make_version(APPROVED) for _ in range(3)]
    for version in (one, two, three):
        await move(registry, version.id)
    for version, left in ((two, one.id), (one, None)):
        gone = sa.update(versions).where(versions.c.id == version.id)
        async with database.begin() as connection:
            await connection.execute(gone.values(pruned_at=datetime.now(UTC)))
        assert await registry.previous_stable(*ACME) == left


async def test_routes_hold_what_a_worker_needs(registry: Registry, make_version: MakeVersion) -> None:
    stable, rejected = await make_version(APPROVED), await make_version(VersionStatus.REJECTED)
    await move(registry, stable.id)
    (routes,) = await registry.routes("ten_acme")
    assert routes.aliases == {Alias.STABLE: stable.id}
    assert routes.versions == {stable.number: stable.id}
    assert routes.numbers == {stable.id: stable.number}
    assert rejected.id not in routes.numbers


async def test_a_worker_that_starts_reads_every_tenants_routes(
    registry: Registry, database: AsyncEngine
) -> None:
    async with database.connect() as connection:
        found = await read_routes(connection)
    assert [(routes.tenant_id, routes.name) for routes in found] == [
        ("ten_acme", "default"),
        ("ten_globex", "default"),
    ]


async def test_every_write_that_changes_a_route_reaches_the_change_log(
    registry: Registry, database: AsyncEngine, make_version: MakeVersion
) -> None:
    version = await make_version()
    position = await registry.position()
    for write in (registry.set_status(version.id, APPROVED), move(registry, version.id)):
        await write
        async with database.connect() as connection:
            after, tenants = await changes.since(connection, position)
        assert (after > position, tenants) == (True, {"ten_acme"})
        position = after


async def test_whatever_moves_a_version_takes_the_change_log_before_the_row(
    registry: Registry, database: AsyncEngine, make_version: MakeVersion
) -> None:
    written: list[list[str]] = []

    def begun(_: sa.Connection) -> None:
        written.append([])

    def note(_: object, _cursor: object, statement: str, *_more: object) -> None:
        if not statement.startswith("SELECT"):
            written[-1].append(statement)

    version = await make_version()
    event.listen(database.sync_engine, "begin", begun)
    event.listen(database.sync_engine, "before_cursor_execute", note)
    await registry.set_status(version.id, APPROVED)
    await move(registry, version.id)
    approved, moved = [statements for statements in written if statements]
    for statements in (approved, moved):
        assert statements[0].startswith("INSERT INTO changes")
        assert any(statement.startswith("UPDATE versions") for statement in statements[1:])


async def test_a_move_names_its_position_in_the_change_log(
    registry: Registry, make_version: MakeVersion
) -> None:
    version = await make_version(APPROVED)
    assert (await move(registry, version.id)).change == await registry.position()


async def test_the_engines_shall_hold_aliased_and_upcoming_versions(
    registry: Registry, make_version: MakeVersion
) -> None:
    stable, gating = await make_version(APPROVED), await make_version(VersionStatus.GATING)
    others = [await make_version(), await make_version(VersionStatus.REJECTED)]
    await move(registry, stable.id)
    assert all([await registry.is_wanted(version.id) for version in (stable, gating)])
    assert not any([await registry.is_wanted(version.id) for version in others])
