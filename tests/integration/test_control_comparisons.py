"""Shadows and A/B tests of versions that never served, over the admin API, while control's loops run."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from adapters.types import Alias
from gateway.loops import Loops
from gateway.shadow_counts import ShadowCounts
from tests.integration.control_house import System
from tests.integration.random_adapters import packed, write_adapter
from tests.waiting import until

PLACE = "tenants/acme/adapters/default"
ROLLOUTS = f"{PLACE}/rollouts"
SHADOW = {"kind": "shadow", "share": 100, "budget_tokens": 1000}


class Shop:
    """Tenant `acme` and its imports; what is approved for the tenant `other` shows that control looks."""

    def __init__(self, system: System, acme: str, other: str, files: Path) -> None:
        self.system = system
        self.call = system.call
        self._acme = acme
        self._other = other
        self._files = files

    async def imported(self, seed: int) -> str:
        """A version that waits for approval; its id."""
        directory = write_adapter(self._files / str(seed), self.system.control.base, seed, rank=2)
        headers = {"content-type": "application/octet-stream"}
        response = await self.system.admin.post(
            f"/admin/v1/{PLACE}/versions", content=packed(directory), headers=headers
        )
        assert response.status_code == 201, response.text
        return str(response.json()["id"])

    async def approve(self, version: str, **how: bool) -> None:
        await self.call("POST", f"{PLACE}/versions/{version}/approve", how or None)

    async def start(self, version: str, rollout: dict[str, Any], status: int = 201) -> dict[str, Any]:
        found: dict[str, Any] = await self.call("POST", ROLLOUTS, {**rollout, "version": version}, status)
        return found

    async def abort(self, rollout: dict[str, Any]) -> None:
        await self.call("POST", f"{ROLLOUTS}/{rollout['id']}/abort", {"reason": "seen enough"})

    async def status(self, version: str) -> str:
        return str((await self.call("GET", f"{PLACE}/versions/{version}"))["status"])

    async def stable(self) -> str | None:
        return await self._serving(self._acme)

    async def looked(self) -> None:
        """Control's loop has looked for approved versions from now on, once at least from its beginning to its end."""
        for _ in range(2):
            await self._until_live(self._other, (await self.system.version(self._other)).id)

    async def live(self, version: str) -> None:
        """Users get it."""
        await self._until_live(self._acme, version)

    async def _until_live(self, tenant: str, version: str) -> None:
        async def served() -> bool:
            return await self._serving(tenant) == version

        await until(served)

    async def _serving(self, tenant: str) -> str | None:
        return (await self.system.control.registry.alias(tenant, "default", Alias.STABLE))[0]


@pytest.fixture
async def shop(system: System, tmp_path: Path) -> AsyncIterator[Shop]:
    acme, other = await system.tenant(), await system.tenant("globex")
    async with Loops(system.control).running():
        yield Shop(system, acme["id"], other["id"], tmp_path / "imports")


async def test_an_import_is_shadowed_before_anybody_approves_it(shop: Shop) -> None:
    version = await shop.imported(1)
    rollout = await shop.start(version, SHADOW)
    await shop.looked()
    await ShadowCounts(shop.system.control.redis).add(rollout["id"], 40, 0)
    report = await shop.call("GET", f"{ROLLOUTS}/{rollout['id']}/report")
    assert (report["answers"], report["budget_tokens"]) == (0, 1000)
    assert (report["offered"], report["reached_share"]) == (40, 0)
    await shop.abort(rollout)
    await shop.looked()
    assert (await shop.status(version), await shop.stable()) == ("registered", None)
    await shop.approve(version)
    await shop.live(version)


async def test_users_get_no_version_of_an_ab_test_that_nobody_approved(shop: Shop) -> None:
    await shop.start(await shop.imported(1), {"kind": "ab", "share": 50}, 409)


async def test_a_version_that_is_approved_and_held_is_tested_against_stable(shop: Shop) -> None:
    first = await shop.imported(1)
    await shop.approve(first)
    await shop.live(first)
    second = await shop.imported(2)
    await shop.approve(second, hold=True)
    await shop.approve(second, hold=True)
    await shop.looked()
    assert (await shop.status(second), await shop.stable()) == ("retired", first)
    rollout = await shop.start(second, {"kind": "ab", "share": 50})
    assert (rollout["version_id"], rollout["against_id"]) == (second, first)
    await shop.abort(rollout)
    await shop.looked()
    assert await shop.stable() == first
    await shop.call("PUT", f"{PLACE}/aliases/stable", {"version": second})


async def test_a_version_that_is_approved_during_its_shadow_goes_live_after_its_end_but_not_after_an_abort(
    shop: Shop,
) -> None:
    version = await shop.imported(1)
    rollout = await shop.start(version, SHADOW)
    await shop.approve(version)
    await shop.looked()
    assert (await shop.status(version), await shop.stable()) == ("approved", None)
    await shop.abort(rollout)
    await shop.looked()
    assert (await shop.status(version), await shop.stable()) == ("retired", None)


async def test_a_persons_swap_during_a_shadow_is_not_undone_by_the_version_that_was_shadowed(
    shop: Shop,
) -> None:
    first = await shop.imported(1)
    await shop.approve(first)
    await shop.live(first)
    version = await shop.imported(2)
    rollout = await shop.start(version, SHADOW)
    await shop.approve(version)
    await shop.call("POST", f"{PLACE}/rollback")

    async def ended() -> bool:
        return (await shop.call("GET", f"{ROLLOUTS}/{rollout['id']}"))["status"] == "overridden"

    await until(ended)
    await shop.looked()
    assert (await shop.status(version), await shop.stable()) == ("retired", None)
