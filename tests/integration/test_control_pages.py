"""The admin API's long lists, page by page, and the commands that show them whole."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from adapters import rollout_records
from adapters.types import Alias, Rollout, RolloutKind, RolloutStatus, Version
from gateway.cli.main import app as cli
from gateway.keys import Scope
from tests.integration.control_house import ADMIN_KEY, System
from tests.integration.gateway_house import listening

LISTS = {
    "tenants/acme/adapters": "adapters list acme",
    "tenants/acme/keys": "keys list acme",
    "keys": "keys list platform",
    "tenants/acme/adapters/default/rollouts": "rollout list acme",
    "tenants/acme/adapters/default/aliases/stable/history": "adapters history acme",
}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
async def version(system: System) -> Version:
    return await system.version((await system.tenant())["id"])


async def fill(system: System, path: str, version: Version, count: int) -> None:
    """Bring the list to so many entries."""
    control, owner = system.control, version.tenant_id
    for number in range(count):
        if path.endswith("adapters"):
            name = "default" if number == 0 else f"extra-{number}"
            await control.registry.ensure_adapter(owner, name, control.base.digest)
        elif path.endswith("keys"):
            tenant_id = None if path == "keys" else owner
            await control.tenants.create_key(tenant_id, f"key {number}", [Scope.CHAT], "test")
        elif path.endswith("rollouts"):
            started = await control.canaries.moves.start_other(
                RolloutKind.AB, version, None, 50, "test", None
            )
            await end(system, started[0])
        else:
            to = None if number % 2 else version.id
            await control.registry.move_alias(
                owner, "default", Alias.STABLE, to, "test", rolled_back=to is None
            )


async def end(system: System, rollout: Rollout) -> None:
    async with system.control.sql.begin() as connection:
        ended = replace(rollout, status=RolloutStatus.FINISHED, ended_at=rollout.created_at)
        await rollout_records.update(connection, ended)


async def pages(system: System, path: str, limit: int) -> AsyncIterator[dict[str, Any]]:
    page = await system.call("GET", f"{path}?limit={limit}")
    yield page
    while page["has_more"]:
        page = await system.call("GET", f"{path}?limit={limit}&after={page['last_id']}")
        yield page


@pytest.mark.parametrize("path", LISTS)
async def test_pages_hold_every_entry_once_in_the_order_of_the_whole(
    system: System, version: Version, path: str
) -> None:
    await fill(system, path, version, 5)
    whole = (await system.call("GET", path))["data"]
    found = [page["data"] async for page in pages(system, path, 2)]
    assert [len(page) for page in found] == [2, 2, 1]
    assert [entry for page in found for entry in page] == whole
    assert len({entry["id"] for entry in whole}) == 5
    times = [entry.get("created_at", entry.get("at")) for entry in whole]
    assert times == sorted(times, reverse=not path.endswith("adapters"))


@pytest.mark.parametrize("path", LISTS)
async def test_the_command_shows_every_page(system: System, version: Version, path: str) -> None:
    await fill(system, path, version, 101)

    def graft(url: str) -> Any:
        root = ["--json", "--admin-url", url, "--admin-key", ADMIN_KEY]
        done = CliRunner().invoke(cli, [*root, *LISTS[path].split()])
        assert done.exit_code == 0, done.exception
        return json.loads(done.stdout)

    async with listening(system.app) as url:
        assert len(await asyncio.to_thread(graft, url)) == 101


@pytest.mark.parametrize("path", ["tenants/globex/keys", "keys", "tenants/globex/adapters/default/rollouts"])
async def test_a_page_after_somebody_elses_entry_does_not_exist(
    system: System, version: Version, path: str
) -> None:
    await system.tenant("globex")
    kind = "tenants/acme/keys" if path.endswith("keys") else "tenants/acme/adapters/default/rollouts"
    await fill(system, kind, version, 1)
    (entry,) = (await system.call("GET", kind))["data"]
    await system.call("GET", f"{path}?after={entry['id']}", status=404)
    await system.call("GET", f"{path}?after=nothing", status=404)
