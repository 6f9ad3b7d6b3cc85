"""A change to the record and its entry in the audit log stand or fall together."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters import audit
from adapters.artifacts import ArtifactStore
from adapters.audit import SYSTEM, Act
from adapters.base import BaseModel
from adapters.bases import Bases
from adapters.errors import ConflictError, IllegalTransition
from adapters.registry import Registry
from adapters.retention import Keep, mark
from adapters.swap import Swapper
from adapters.testing import FakeEngine, FakeWorkers
from adapters.types import Alias, AliasMove, Lineage, VersionStatus
from adapters.wants import Wants
from tests.unit.adapters.conftest import BASE, MakeVersion

ACME = ("ten_acme", "default")
APPROVED = VersionStatus.APPROVED


class Killed(FakeWorkers):
    """Control ends right after the alias moved."""

    async def announce(self, change: int, move: AliasMove | None = None) -> None:
        raise RuntimeError("killed")


async def newest(database: AsyncEngine) -> Act:
    return (await audit.entries(database))[0].act


async def acts_of(database: AsyncEngine, action: str) -> list[Act]:
    return [entry.act for entry in await audit.entries(database) if entry.act.action == action]


async def pruned(database: AsyncEngine) -> None:
    async with database.begin() as connection:
        await mark(connection, *ACME, Keep(0, 0.0), {}, "ada")


async def test_a_swap_that_is_killed_after_its_flip_is_in_the_audit_log(
    registry: Registry, store: ArtifactStore, database: AsyncEngine, make_version: MakeVersion, tmp_path: Path
) -> None:
    version = await make_version(APPROVED)
    swapper = Swapper(registry, store, [FakeEngine()], Killed(), tmp_path / "cache")
    with pytest.raises(RuntimeError):
        await swapper.swap(*ACME, version.id, "ada")
    told = {"adapter": "default", "alias": "stable", "version": "default@v1", "from": None, "to": version.id}
    told |= {"rolled_back": False}
    assert await newest(database) == Act("ada", "alias.moved", version.id, "ten_acme", told)


async def test_a_rollback_to_the_base_model_names_who_asked(
    registry: Registry, store: ArtifactStore, database: AsyncEngine, make_version: MakeVersion, tmp_path: Path
) -> None:
    version = await make_version(APPROVED)
    swapper = Swapper(registry, store, [FakeEngine()], FakeWorkers(), tmp_path / "cache")
    await swapper.swap(*ACME, version.id, "ada")
    await swapper.rollback(*ACME, "grace")
    act = await newest(database)
    told = {"adapter": "default", "alias": "stable", "version": "base", "from": version.id, "to": None}
    assert act == Act("grace", "alias.moved", "base", "ten_acme", {**told, "rolled_back": True})


async def test_a_move_that_is_refused_leaves_no_entry(
    registry: Registry, database: AsyncEngine, make_version: MakeVersion
) -> None:
    version = await make_version(APPROVED)
    with pytest.raises(ConflictError):
        await registry.move_alias(*ACME, Alias.STABLE, version.id, "ada", expected_revision=7)
    assert await acts_of(database, "alias.moved") == []


async def test_what_is_rolled_back_leaves_neither_change_nor_entry(
    registry: Registry,
    database: AsyncEngine,
    make_version: MakeVersion,
    base: BaseModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    version, record = await make_version(APPROVED), audit.record
    ended = await make_version(VersionStatus.REJECTED)
    before = await audit.entries(database)

    async def lost(connection: AsyncConnection, act: Act) -> None:
        await record(connection, act)
        raise RuntimeError("killed before the commit")

    monkeypatch.setattr(audit, "record", lost)
    writes = (
        registry.move_alias(*ACME, Alias.STABLE, version.id, "ada"),
        registry.set_status(version.id, VersionStatus.REJECTED, "ada"),
        registry.register(*ACME, "sha256:b", Lineage(BASE), {}),
        Wants(database).pin(version.id, "ada"),
        pruned(database),
        Bases(database, {"base": base}).publish(),
    )
    for write in writes:
        with pytest.raises(RuntimeError, match="before the commit"):
            await write
    assert await audit.entries(database) == before
    assert await registry.versions(*ACME) == [ended, version]
    assert (await registry.alias(*ACME, Alias.STABLE), await Wants(database).pins()) == (
        (None, 0),
        frozenset(),
    )


async def test_a_status_is_audited_with_who_set_it_and_why(
    registry: Registry, database: AsyncEngine, make_version: MakeVersion
) -> None:
    version = await make_version()
    await registry.set_status(version.id, VersionStatus.REJECTED, "ada", "too blunt")
    told = {"version": "default@v1", "reason": "too blunt"}
    assert await newest(database) == Act("ada", "version.rejected", version.id, "ten_acme", told)


async def test_a_version_that_is_pruned_is_audited_with_who_did_it(
    database: AsyncEngine, make_version: MakeVersion
) -> None:
    version = await make_version(VersionStatus.REJECTED)
    for _ in range(2):
        await pruned(database)
    told = {"version": "default@v1"}
    assert await acts_of(database, "version.pruned") == [
        Act("ada", "version.pruned", version.id, "ten_acme", told)
    ]


async def test_setting_the_status_that_a_version_has_is_no_change(
    registry: Registry, database: AsyncEngine, make_version: MakeVersion
) -> None:
    version = await make_version(APPROVED)
    await registry.set_status(version.id, APPROVED, "ada")
    assert [act.actor for act in await acts_of(database, "version.approved")] == [SYSTEM]


async def test_a_judgement_that_the_record_refuses_leaves_no_entry(
    registry: Registry, database: AsyncEngine, make_version: MakeVersion
) -> None:
    version = await make_version(VersionStatus.REJECTED)
    with pytest.raises(IllegalTransition):
        await registry.set_status(version.id, APPROVED, "ada")
    assert await acts_of(database, "version.approved") == []


@pytest.mark.parametrize(
    ("lineage", "action", "actor"),
    [
        ({"run_id": "run_1"}, "version.registered", "run:run_1"),
        ({"source": "upload", "actor": "ada"}, "version.imported", "ada"),
    ],
)
async def test_a_new_version_is_audited_once_with_where_it_came_from(
    registry: Registry, database: AsyncEngine, lineage: Mapping[str, Any], action: str, actor: str
) -> None:
    for _ in range(2):
        version, _ = await registry.register_once(*ACME, "sha256:a", Lineage(BASE, **lineage), {})
    (act,) = await acts_of(database, action)
    assert (act.actor, act.subject, act.detail["artifact_digest"]) == (actor, version.id, "sha256:a")


async def test_an_adapter_is_audited_once_with_who_made_it(registry: Registry, database: AsyncEngine) -> None:
    for actor in ("ada", "grace"):
        await registry.ensure_adapter("ten_acme", "support", BASE, actor)
    made = [act.actor for act in await acts_of(database, "adapter.created") if act.subject == "support"]
    assert made == ["ada"]


async def test_names_that_stand_for_another_base_model_are_audited_once(
    database: AsyncEngine, base: BaseModel
) -> None:
    other = replace(base, digest="sha256:other")
    for found in ({"base": base}, {"base": base}, {"base": other, "large": base}, {"large": base}):
        await Bases(database, found).publish()
    told = [
        (act.subject, act.detail["from"], act.detail["to"]) for act in await acts_of(database, "base.named")
    ]
    assert told == [
        ("base", other.digest, None),
        ("large", None, base.digest),
        ("base", base.digest, other.digest),
        ("base", None, base.digest),
    ]


async def test_a_pin_and_its_end_are_audited(database: AsyncEngine, make_version: MakeVersion) -> None:
    version, wants = await make_version(), Wants(database)
    await wants.pin(version.id, "ada")
    for _ in range(2):
        await wants.unpin(version.id, "grace")
    assert [act.actor for act in await acts_of(database, "version.pinned")] == ["ada"]
    assert [act.actor for act in await acts_of(database, "version.unpinned")] == ["grace"]
