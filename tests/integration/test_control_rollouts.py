"""Rollouts over the admin API."""

from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from adapters.tables import versions
from adapters.types import VersionStatus
from tests.integration.control_house import System


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


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "ab", "version": "v1", "share": 50},
        {"kind": "ab", "version": "v2", "against": "v1", "share": 50},
        {"kind": "shadow", "version": "v1", "share": 50, "budget_tokens": 1000},
    ],
)
async def test_a_version_whose_files_were_pruned_is_not_compared(
    system: System, body: dict[str, Any]
) -> None:
    """Not even while an engine still holds it: no route leads to it."""
    tenant = await system.tenant()
    pruned, _ = await system.version(tenant["id"]), await system.version(tenant["id"])
    async with system.control.sql.begin() as connection:
        mine = sa.update(versions).where(versions.c.id == pruned.id)
        await connection.execute(mine.values(status="retired", pruned_at=datetime.now(UTC)))
    path = "tenants/acme/adapters/default/rollouts"
    answer = await system.call("POST", path, body, 409)
    assert pruned.artifact_digest in answer["error"]["message"]
    assert (await system.call("GET", path))["data"] == []


@pytest.mark.parametrize("logging", ["metadata", "off"])
async def test_there_is_no_shadow_where_answers_are_not_kept(system: System, logging: str) -> None:
    """It would compare nothing, and hold up what is approved for ever."""
    tenant = await system.tenant()
    await system.version(tenant["id"], VersionStatus.REGISTERED)
    await system.call("PATCH", "tenants/acme/policy", {"logging": logging})
    path = "tenants/acme/adapters/default/rollouts"
    body = {"kind": "shadow", "version": "v1", "share": 50, "budget_tokens": 1000}
    answer = await system.call("POST", path, body, 409)
    assert logging in answer["error"]["message"]


async def test_a_webhooks_secret_is_the_tenants_own(system: System) -> None:
    await system.tenant()
    await system.tenant("globex")
    secrets = [
        (await system.call("GET", f"tenants/{name}/webhook-secret"))["secret"] for name in ("acme", "globex")
    ]
    assert secrets[0].startswith("whsec_")
    assert secrets[0] != secrets[1]
