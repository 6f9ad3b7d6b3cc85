"""The admin API over a real Redis, a real record and a real gateway worker that follows it.

Only the engine is the in-memory one: what it says does not matter here
(tests/integration/test_control_swap.py has the real one).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import sqlalchemy as sa
from redis.asyncio import Redis
from safetensors.numpy import save_file
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.base import describe_base
from adapters.registry import Registry
from adapters.retention import GRACE
from adapters.settings import Settings as AdaptersSettings
from adapters.swap import Swapper
from adapters.tables import metadata as adapters
from adapters.tables import versions
from adapters.testing import FakeEngine
from adapters.types import Lineage, Version, VersionStatus
from gateway.admin import create_app
from gateway.control import Control, Loops, assembled
from gateway.database import connect
from gateway.follower import Follower
from gateway.leases import Heartbeat, Leases
from gateway.loader import SnapshotLoader
from gateway.pruning import Pruner
from gateway.settings import Settings
from gateway.snapshot import CurrentSnapshot
from gateway.tables import metadata as gateway
from training.drafts import FeedbackDraft
from training.tables import metadata as training
from training.types import RunStatus

ADMIN_KEY = "gk-admin-secret"


@dataclass
class System:
    """`admin` is authenticated; `seen` is what the worker serves."""

    admin: httpx.AsyncClient
    control: Control
    engine: FakeEngine
    seen: CurrentSnapshot
    files: Path

    async def call(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        response = await self.admin.request(method, f"/admin/v1/{path}", json=body)
        assert response.status_code == status, response.text
        return response.json()

    async def tenant(self, name: str = "acme") -> dict[str, Any]:
        found: dict[str, Any] = await self.call("POST", "tenants", {"external_id": name}, 201)
        return found

    async def version(self, tenant_id: str, status: VersionStatus = VersionStatus.APPROVED) -> Version:
        artifact = await self.control.store.put(self.files)
        lineage = Lineage(self.control.base.digest)
        made = await self.control.registry.register(tenant_id, "default", artifact.digest, lineage, {})
        await self.control.registry.set_status(made.id, status)
        return await self.control.registry.version(made.id)


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    """A directory that describes a base model of one linear layer."""
    directory = tmp_path / "base"
    directory.mkdir()
    (directory / "config.json").write_text('{"hidden_size": 8, "num_hidden_layers": 1}')
    (directory / "tokenizer.json").write_text("{}")
    save_file(
        {"model.layers.0.mlp.up_proj.weight": np.ones((16, 8), np.float32)}, directory / "m.safetensors"
    )
    return directory


@pytest.fixture
async def worker(tmp_path: Path, redis_url: str) -> AsyncIterator[CurrentSnapshot]:
    """A gateway worker's follower and heartbeat."""
    sql: AsyncEngine = connect(f"sqlite+aiosqlite:///{tmp_path / 'graft.db'}")
    async with sql.begin() as connection:
        for metadata in (gateway, adapters, training):
            await connection.run_sync(metadata.create_all)
    redis, current = Redis.from_url(redis_url), CurrentSnapshot()
    heartbeat = Heartbeat(redis, "w_1", Leases())
    follower = Follower(SnapshotLoader(sql, Registry(sql), "salt"), redis, current, heartbeat)
    await follower.start()
    await heartbeat.start()
    yield current
    await heartbeat.close()
    await follower.close()
    await redis.aclose()
    await sql.dispose()


@pytest.fixture
async def system(
    tmp_path: Path, redis_url: str, worker: CurrentSnapshot, base_path: Path
) -> AsyncIterator[System]:
    settings = Settings(data_dir=tmp_path, redis_url=redis_url)
    told = AdaptersSettings(data_dir=tmp_path, base_model=str(base_path))
    engine = FakeEngine(base_digest=describe_base(base_path).digest)
    files = tmp_path / "files"
    files.mkdir()
    (files / "adapter_model.safetensors").write_bytes(b"weights")

    @contextlib.asynccontextmanager
    async def assemble() -> AsyncIterator[Control]:
        async with assembled(settings, told) as real:
            swapper = Swapper(real.registry, real.store, [engine], real.workers, tmp_path / "cache")
            canaries = replace(real.canaries, swapper=swapper)
            yield replace(real, engines=(engine,), swapper=swapper, canaries=canaries)

    app = create_app(assemble, ADMIN_KEY, loops=False)
    async with app.router.lifespan_context(app):
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://control",
            headers={"authorization": f"Bearer {ADMIN_KEY}"},
        )
        async with client:
            yield System(client, app.state.control, engine, worker, files)


@pytest.mark.parametrize("given", ["", "Bearer ", "Bearer gk-admin-wrong", "Basic gk-admin-secret"])
async def test_nobody_gets_in_without_the_admin_key(system: System, given: str) -> None:
    response = await system.admin.get("/admin/v1/tenants", headers={"authorization": given})
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_every_route_but_health_needs_the_key(system: System) -> None:
    document = (await system.admin.get("/openapi.json")).json()
    assert document["paths"].keys() > {"/admin/v1/tenants", "/admin/v1/runs"}
    for path, methods in document["paths"].items():
        if path == "/healthz":
            continue
        for method in methods:
            response = await system.admin.request(method, path, headers={"authorization": ""}, json={})
            assert response.status_code == 401, (method, path)


async def test_a_new_tenant_has_a_default_adapter_that_serves_the_base(system: System) -> None:
    await system.tenant()
    (adapter,) = (await system.call("GET", "tenants/acme/adapters"))["data"]
    assert (adapter["name"], adapter["stable"]) == ("default", None)


async def test_repeating_an_upsert_answers_200_with_the_same_tenant(system: System) -> None:
    made = await system.tenant()
    assert await system.call("POST", "tenants", {"external_id": "acme"}, 200) == made


async def test_a_new_key_is_known_to_the_worker_when_the_answer_arrives(system: System) -> None:
    await system.tenant()
    issued = await system.call("POST", "tenants/acme/keys", {"name": "first"}, 201)
    assert issued["public_id"] in system.seen.value.keys
    assert issued["secret"].startswith("gk-")


async def test_a_revoked_key_is_gone_from_the_worker_when_the_answer_arrives(system: System) -> None:
    await system.tenant()
    issued = await system.call("POST", "tenants/acme/keys", {}, 201)
    await system.call("DELETE", f"tenants/acme/keys/{issued['id']}")
    assert issued["public_id"] not in system.seen.value.keys


async def test_a_keys_secret_is_shown_once(system: System) -> None:
    await system.tenant()
    issued = await system.call("POST", "tenants/acme/keys", {}, 201)
    assert issued["secret"] not in str(await system.call("GET", "tenants/acme/keys"))


async def test_a_key_that_would_never_work_is_refused(system: System) -> None:
    await system.tenant()
    answer = await system.call("POST", "tenants/acme/keys", {"expires_at": "2001-01-01T00:00:00Z"}, 400)
    assert answer["error"]["param"] == "expires_at"


async def test_a_policy_patch_changes_only_what_it_names(system: System) -> None:
    await system.tenant()
    changed = await system.call("PATCH", "tenants/acme/policy", {"learning": {"triggers": {"count": 5}}})
    assert changed["revision"] == 2
    assert changed["policy"]["learning"]["triggers"]["count"] == 5
    assert changed["policy"]["learning"]["approval"] == "auto"


async def test_a_policy_is_in_force_when_the_answer_arrives(system: System) -> None:
    tenant = await system.tenant()
    await system.call("PUT", "tenants/acme/policy", {"memory": {"enabled": False}})
    assert system.seen.value.tenants[tenant["id"]].policy.memory.enabled is False


async def test_a_mistyped_policy_field_is_named(system: System) -> None:
    await system.tenant()
    answer = await system.call("PATCH", "tenants/acme/policy", {"learning": {"aproval": "auto"}}, 400)
    assert answer["error"]["param"] == "learning.aproval"


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


async def test_a_run_can_be_started_and_only_one_at_a_time(system: System) -> None:
    await system.tenant()
    run = await system.call("POST", "runs", {"tenant_id": "acme"}, 201)
    assert (run["status"], run["trigger"]) == ("queued", "manual")
    await system.call("POST", "runs", {"tenant_id": "acme"}, 409)


async def test_approving_a_run_approves_its_version(system: System) -> None:
    tenant = await system.tenant()
    version = await system.version(tenant["id"], VersionStatus.GATING)
    run = await system.call("POST", "runs", {"tenant_id": "acme"}, 201)
    await system.control.runs.claim("learner")
    await system.control.runs.update(run["id"], "learner", version_id=version.id)
    await system.control.runs.finish(run["id"], "learner", RunStatus.AWAITING_APPROVAL)
    approved = await system.call("POST", f"runs/{run['id']}/approve")
    assert approved["status"] == "succeeded"
    assert (await system.control.registry.version(version.id)).status is VersionStatus.APPROVED


async def test_a_runs_story_streams_until_it_has_ended(system: System) -> None:
    await system.tenant()
    run = await system.call("POST", "runs", {"tenant_id": "acme"}, 201)
    await system.call("POST", f"runs/{run['id']}/cancel")
    headers = {"accept": "text/event-stream"}
    story = (await system.admin.get(f"/admin/v1/runs/{run['id']}/events", headers=headers)).text
    assert "event: event" in story
    assert '"status":"cancelled"' in story


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


async def test_what_does_not_exist_is_404_in_openais_shape(system: System) -> None:
    for path in ("nothing", "tenants/nobody", "runs/run_0", "tenants/nobody/adapters/default"):
        answer = await system.call("GET", path, None, 404)
        assert answer["error"].keys() == {"message", "type", "param", "code"}


async def test_a_body_that_is_wrong_names_its_field(system: System) -> None:
    answer = await system.call("POST", "tenants", {"external_id": "no spaces"}, 400)
    assert answer["error"]["param"] == "external_id"


async def test_status_asks_every_part(system: System) -> None:
    status = await system.call("GET", "status")
    assert (status["redis"], status["sql"], status["retrieval"]) == (True, True, False)
    assert len(status["workers"]) == 1


async def test_a_person_decides_what_waits_and_it_is_audited(system: System) -> None:
    tenant = await system.tenant()
    draft = FeedbackDraft(
        tenant_id=tenant["id"],
        adapter="default",
        messages=[{"role": "user", "content": "What is the warranty at Zorvia?"}],
        author="key_1",
        trusted=True,
        correction="password: hunter2hunter2",
    )
    waiting = [
        (await system.control.feedback.record(replace(draft, correction=f"{draft.correction}{n}"))).feedback
        for n in range(3)
    ]
    path = "tenants/acme/reviews"
    listed = await system.call("GET", path)
    edited = await system.call("POST", f"{path}/{waiting[0].id}/edit", {"correction": "2 years"})
    accepted = await system.call("POST", f"{path}/{waiting[1].id}/accept")
    await system.call("POST", f"{path}/{waiting[2].id}/reject")
    await system.call("POST", f"{path}/{waiting[2].id}/accept", status=409)
    assert [each["id"] for each in listed["data"]] == [entry.id for entry in waiting]
    assert (edited["status"], edited["replaces"]) == ("accepted", waiting[0].id)
    assert (accepted["status"], accepted["memory"]) == ("accepted", "pending")
    assert (await system.control.feedback.get(tenant["id"], edited["id"])).status.value == "superseded"
    assert (await system.call("GET", path))["data"] == []
    actions = [entry["action"] for entry in (await system.call("GET", "audit"))["data"]]
    assert actions[:3] == ["review.rejected", "review.accepted", "review.edited"]


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
    await system.call("POST", f"{place}/prune", {})
    assert (await system.call("GET", f"{place}/versions/v1"))["pruned_at"]
    assert (await system.call("GET", place))["versions"] == {
        "approved": 2,
        "retired": 1,
        "pruned": 1,
        "live": 3,
    }
    assert 1 not in system.seen.value.tenants[tenant["id"]].adapters["default"].versions
    await system.call("PUT", f"{place}/versions/v1/pin", {}, 409)


async def test_files_of_a_pruned_version_go_once_no_engine_holds_it(system: System) -> None:
    tenant, control = await system.tenant(), system.control
    await system.call("PUT", f"tenants/{tenant['id']}/policy", {"retention": {"versions": 1, "days": 0}})
    old = await system.version(tenant["id"], VersionStatus.REJECTED)
    (system.files / "adapter_model.safetensors").write_bytes(b"other weights")
    new = await system.version(tenant["id"])
    parts = control.sql, control.store, [system.engine], control.workers, control.tenants, control.runs
    pruner = Pruner(*parts, control.cache_dir)
    await system.engine.load(old.id, system.files)
    assert [version.id for version in await pruner.run_once()] == [old.id]
    async with control.sql.begin() as connection:
        earlier = datetime.now(UTC) - 2 * GRACE
        await connection.execute(sa.update(versions).values(pruned_at=earlier).where(versions.c.id == old.id))
    assert await pruner.sweep() == []
    await system.engine.unload(old.id)
    system.engine.down = True
    assert await pruner.sweep() == []
    system.engine.down = False
    assert await pruner.sweep() == [old.artifact_digest]
    assert not await control.store.exists(old.artifact_digest)
    assert await control.store.exists(new.artifact_digest)


async def test_a_merge_is_a_run_and_names_only_the_tenants_own_versions(system: System) -> None:
    acme, globex = await system.tenant("acme"), await system.tenant("globex")
    place = f"tenants/{acme['id']}/adapters/default/merges"
    one, two = [await system.version(acme["id"]) for _ in range(2)]
    foreign = await system.version(globex["id"])
    for sources in ([{"version": "v1"}], [{"version": "v1"}, {"version": "v1"}]):
        await system.call("POST", place, {"sources": sources}, 400)
    await system.call("POST", place, {"sources": [{"version": "v1"}, {"version": foreign.id}]}, 404)
    body = {"sources": [{"version": "v1"}, {"version": "v2", "weight": 2}], "method": "ties"}
    run = await system.call("POST", place, body, 201)
    assert run["recipe"]["merge"]["sources"] == [
        {"version_id": one.id, "weight": 1.0},
        {"version_id": two.id, "weight": 2.0},
    ]
    judged = await system.call("POST", place.replace("merges", "prune"), {"dry_run": True})
    assert {each["kept_for"] for each in judged["data"]} == {f"run {run['id']} needs it"}


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


async def test_a_rollout_is_started_moved_and_ended_by_people(system: System) -> None:
    tenant = await system.tenant()
    await system.tenant("globex")
    await system.call("PATCH", "tenants/acme/policy", {"rollout": {"steps": [5, 50, 100]}})
    version, other = await system.version(tenant["id"]), await system.version(tenant["id"])
    path = "tenants/acme/adapters/default/rollouts"
    started = await system.call("POST", path, {"version": "v1"}, 201)
    one = f"{path}/{started['id']}"
    (split,) = [routes.split for routes in system.seen.value.tenants[tenant["id"]].adapters.values()]
    await system.call("POST", path, {"version": "v2"}, 409)
    await system.call("GET", f"tenants/globex/adapters/default/rollouts/{started['id']}", status=404)
    await system.call("POST", f"{one}/resume", status=409)
    assert (await system.call("POST", f"{one}/pause", {"reason": "lunch"}))["status"] == "paused"
    assert (await system.call("POST", f"{one}/resume"))["status"] == "running"
    assert (await system.call("POST", f"{one}/promote", {}))["status"] == "watching"
    assert (await system.call("POST", f"{one}/abort", {}))["status"] == "aborted"
    shown = await system.call("GET", one)
    assert split is not None
    assert (split.version_id, started["version_id"], started["share"]) == (version.id, version.id, 100)
    assert [each["action"] for each in shown["decisions"]][-2:] == ["promote", "roll_back"]
    assert (await system.call("GET", f"{one}/report"))["verdict"] == "too few"
    assert (await system.control.registry.version(other.id)).status is VersionStatus.APPROVED
    test = {"kind": "ab", "version": "v2", "share": 50}
    assert (await system.call("POST", path, test, 201))["against_id"] is None


@pytest.mark.parametrize(
    "body",
    [
        {"version": "v1", "kind": "ab"},
        {"version": "v1", "kind": "ab", "share": 100},
        {"version": "v1", "kind": "shadow", "share": 5},
        {"version": "v1", "share": 5},
        {"version": "v1", "against": "v2"},
        {"version": "v1", "kind": "blue"},
    ],
)
async def test_a_rollout_that_makes_no_sense_is_refused(system: System, body: dict[str, Any]) -> None:
    await system.tenant()
    response = await system.admin.post("/admin/v1/tenants/acme/adapters/default/rollouts", json=body)
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_a_webhooks_secret_is_the_tenants_own(system: System) -> None:
    await system.tenant()
    await system.tenant("globex")
    secrets = [
        (await system.call("GET", f"tenants/{name}/webhook-secret"))["secret"] for name in ("acme", "globex")
    ]
    assert secrets[0].startswith("whsec_")
    assert secrets[0] != secrets[1]
