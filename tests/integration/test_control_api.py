"""The admin API's door, tenants, keys, policies and status."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from redis.asyncio import Redis

from adapters.reconcile import Reconciler
from gateway.errors import Unauthenticated
from gateway.keys import ALL_SCOPES, Scope
from gateway.leases import Heartbeat, Leases
from gateway.loops import Loops
from gateway.principal import authenticate
from gateway.tables import tenants
from tests.integration.control_house import System
from tests.waiting import until
from training.tables import interactions, runs


@pytest.mark.parametrize("given", ["", "Bearer ", "Bearer gk-admin-wrong", "Basic gk-admin-secret"])
async def test_nobody_gets_in_without_the_admin_key(system: System, given: str) -> None:
    response = await system.admin.get("/admin/v1/tenants", headers={"authorization": given})
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_every_route_but_health_and_metrics_needs_the_key(system: System) -> None:
    document = (await system.admin.get("/openapi.json")).json()
    assert document["paths"].keys() > {"/admin/v1/tenants", "/admin/v1/runs"}
    for path, methods in document["paths"].items():
        if path in ("/healthz", "/metrics"):
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


@pytest.mark.parametrize("path", ["tenants/acme/keys", "keys"])
async def test_a_revoked_key_is_gone_from_the_worker_when_the_answer_arrives(
    system: System, path: str
) -> None:
    await system.tenant()
    issued = await system.call("POST", path, {}, 201)
    assert issued["public_id"] in system.seen.value.keys
    await system.call("DELETE", f"{path}/{issued['id']}")
    assert issued["public_id"] not in system.seen.value.keys


def may(system: System, issued: dict[str, Any], at: datetime) -> set[Scope]:
    """What the worker lets a key do for acme at that time."""
    given = f"Bearer {issued['secret']}", "acme"
    return set(authenticate(system.seen.value, *given, at).key.scopes)


@pytest.mark.parametrize("path", ["tenants/acme/keys", "keys"])
async def test_a_rotated_key_works_beside_its_successor_until_its_grace_is_over(
    system: System, path: str
) -> None:
    await system.tenant()
    old = await system.call("POST", path, {"scopes": ["chat"]}, 201)
    new = await system.call("POST", f"{path}/{old['id']}/rotate", {"grace_seconds": 60}, 201)
    now = datetime.now(UTC)
    later = now + timedelta(seconds=61)
    assert may(system, old, now) == may(system, new, now) == may(system, new, later) == {Scope.CHAT}
    with pytest.raises(Unauthenticated):
        may(system, old, later)
    await system.call("POST", f"{path}/{old['id']}/rotate", {}, 409)


async def test_a_key_ends_at_the_time_that_it_was_given(system: System) -> None:
    await system.tenant()
    end = datetime.now(UTC) + timedelta(minutes=1)
    issued = await system.call("POST", "tenants/acme/keys", {"expires_at": end.isoformat()}, 201)
    assert may(system, issued, end - timedelta(seconds=1)) == ALL_SCOPES
    with pytest.raises(Unauthenticated):
        may(system, issued, end)


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


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ({"epochs": 3}, "epochs"),
        ({"learning_rate": 5}, "learning_rate must be between"),
        ({"rank": 17}, "the engines' limit of 16"),
    ],
)
async def test_a_recipe_that_no_run_could_use_is_refused(system: System, recipe: dict, says: str) -> None:
    await system.tenant()
    policy = await system.call("PATCH", "tenants/acme/policy", {"learning": {"recipe": recipe}}, 400)
    run = await system.call("POST", "runs", {"tenant_id": "acme", "recipe": recipe}, 400)
    assert (policy["error"]["param"], run["error"]["param"]) == ("learning.recipe", "recipe")
    assert says in policy["error"]["message"] and says in run["error"]["message"]
    assert (await system.call("GET", "runs"))["data"] == []


async def test_a_stored_policy_that_is_refused_today_does_not_take_its_tenant_down(system: System) -> None:
    tenant = await system.tenant()
    old = {"logging": "off", "learning": {"recipe": {"epochs": 3, "max_steps": 20}}}
    async with system.control.sql.begin() as connection:
        mine = sa.update(tenants).where(tenants.c.id == tenant["id"])
        await connection.execute(mine.values(policy=old))
    read = await system.call("GET", "tenants/acme/policy")
    assert (read["policy"]["logging"], read["policy"]["learning"]["recipe"]) == ("off", {"max_steps": 20})
    await system.call("POST", "tenants/acme/keys", {}, 201)
    served = system.seen.value.tenants[tenant["id"]].policy
    assert (served.logging, served.learning.recipe) == ("off", {"max_steps": 20})
    await system.call("POST", "runs", {"tenant_id": "acme"}, 201)
    await system.call("PATCH", "tenants/acme/policy", {"memory": {"enabled": False}})


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


async def test_swaps_residency_and_gates_are_measured_without_naming_a_tenant(system: System) -> None:
    tenant = await system.tenant()
    version = await system.version(tenant["id"])
    path = "tenants/acme/adapters/default"
    await system.call("PUT", f"{path}/aliases/stable", {"version": version.id})
    has = system.control
    known = has.registry, has.wants, has.store, has.engines, has.workers, has.holds, has.cache_dir
    await Loops(replace(has, reconciler=Reconciler(*known, capacity=8, copies=1))).reconcile()
    run = await system.call("POST", "runs", {"tenant_id": "acme"}, 201)
    async with system.control.sql.begin() as connection:
        mine = sa.update(runs).where(runs.c.id == run["id"])
        await connection.execute(mine.values(report={"verdict": "pass"}))
    response = await system.admin.get("/metrics", headers={"authorization": ""})
    lines = response.text.splitlines()
    assert f'graft_resident_versions{{replica="{system.engine.url}"}} 1.0' in lines
    assert 'graft_gate_total{verdict="pass"} 1.0' in lines
    counts = {line for line in lines if line.startswith("graft_swap_seconds_count")}
    stages = ("load", "probe", "flip", "visible", "drain", "unload")
    assert counts == {f'graft_swap_seconds_count{{stage="{stage}"}} 1.0' for stage in stages}
    assert tenant["id"] not in response.text and "acme" not in response.text


async def test_a_swap_that_a_worker_is_late_to_follow_says_where_to_ask(system: System, redis: Redis) -> None:
    tenant = await system.tenant()
    version = await system.version(tenant["id"])
    late = Heartbeat(redis, "w_late", Leases())
    await late.start()
    system.control.swapper._visible_deadline_s = 0.1
    path = "/admin/v1/tenants/acme/adapters/default/aliases/stable"
    told = await system.admin.put(path, json={"version": version.id})
    done = told.json()
    assert (told.status_code, done["visible"], done["workers"]) == (202, False, 0)
    where = told.headers["location"].removeprefix("/admin/v1/")
    shown = {"id": done["change"], "object": "change", "visible": False, "workers": 2, "behind": 1}
    assert await system.call("GET", where) == shown
    late.applied(done["change"])

    async def followed() -> bool:
        return bool((await system.call("GET", where))["visible"])

    await until(followed)
    assert await system.call("GET", where) == {**shown, "visible": True, "behind": 0}
    await late.close()
    await system.call("GET", f"changes/{done['change'] + 1}", status=404)


async def test_statistics_come_in_pages_of_tenants(system: System) -> None:
    made = [await system.tenant(f"t{number}") for number in range(3)]
    row = {
        "id": "chatcmpl-1", "tenant_id": made[1]["id"], "adapter": "default", "version_id": None, "arm": "stable",
        "messages": [], "response": "", "memory_ids": [], "passage_ids": [], "usage": {}, "latency_ms": 10.0,
        "status": 500, "at": datetime.now(UTC),
    }  # fmt: skip
    async with system.control.sql.begin() as connection:
        await connection.execute(sa.insert(interactions).values(row))
    first = await system.call("GET", "stats?limit=2")
    second = await system.call("GET", f"stats?limit=2&after={first['last_id']}")
    assert (first["has_more"], second["has_more"]) == (True, False)
    shown = {each["id"]: each for page in (first, second) for each in page["data"]}
    assert list(shown) == sorted(tenant["id"] for tenant in made)
    assert [(each["requests"], each["failed"]) for each in shown[made[1]["id"]]["versions"]] == [(1, 1)]
    assert shown[made[0]["id"]]["versions"] == []
    (only,) = (await system.call("GET", "stats?tenant_id=t1"))["data"]
    assert only == shown[made[1]["id"]]


async def test_a_number_that_no_record_counts_to_is_answered_like_any_other(system: System) -> None:
    await system.tenant()
    assert len((await system.call("GET", f"audit?after={2**62}"))["data"]) > 0
    await system.call("GET", f"audit?after={2**63}", status=400)
    await system.call("GET", f"tenants/acme/adapters/default/versions/v{10**12}", status=404)
    stale = await system.admin.put(
        "/admin/v1/tenants/acme/policy", json={}, headers={"if-match": str(10**12)}
    )
    assert (stale.status_code, stale.json()["error"]["param"]) == (400, "If-Match")


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_a_policy_is_not_written_over_what_the_caller_has_not_seen(system: System, method: str) -> None:
    await system.tenant()

    async def write(revision: str) -> int:
        headers, body = {"if-match": revision}, {"logging": "off"}
        path = "/admin/v1/tenants/acme/policy"
        return (await system.admin.request(method, path, json=body, headers=headers)).status_code

    assert [await write(revision) for revision in ('"1"', '"1"', 'W/"2"', "7", "new")] == [
        200,
        409,
        200,
        409,
        400,
    ]


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
async def test_a_moment_that_no_record_holds_is_refused(system: System, moment: str) -> None:
    await system.tenant()
    answer = await system.call("POST", "tenants/acme/keys", {"expires_at": moment}, 400)
    path = "/admin/v1/tenants/acme/adapters/default/aliases/stable/history"
    asked = await system.admin.get(path, params={"at": moment})
    assert (answer["error"]["param"], asked.status_code) == ("expires_at", 400)
    assert asked.json()["error"]["param"] == "at"
