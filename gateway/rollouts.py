"""Puts approved versions live: at once, or by a rollout where the tenant's policy has steps."""

import logging
from collections.abc import Iterable, Sequence
from functools import partial

from adapters.errors import HOPELESS, AdaptersError
from adapters.guards import free_version, unchanged_version
from adapters.registry import Registry
from adapters.statuses import set_status
from adapters.swap import Swapper, SwapResult
from adapters.tasks import InTurn
from adapters.types import Version, VersionStatus
from gateway.canaries import ACTOR, Canaries, log_swap
from gateway.errors import GatewayError
from gateway.tenants import TenantStore
from gateway.version_notices import tell_rejected

log = logging.getLogger(__name__)

LIVE_WITHIN_S = 1.0
"""How long a pass waits for one version: a swap waits for the last request on the old one, a load for a slow engine."""


def newest_of_each(approved: Iterable[Version]) -> tuple[Sequence[Version], Sequence[Version]]:
    """Per adapter the version with the highest number, which goes live, and those that it makes pointless."""
    newest: dict[tuple[str, str], Version] = {}
    for version in sorted(approved, key=lambda each: each.number):
        newest[version.tenant_id, version.adapter] = version
    chosen = {version.id for version in newest.values()}
    return list(newest.values()), [version for version in approved if version.id not in chosen]


class Rollouts:
    """One pass per call of `run_once`; control's leader calls it."""

    def __init__(
        self,
        registry: Registry,
        swapper: Swapper,
        tenants: TenantStore,
        canaries: Canaries,
        patience_s: float = LIVE_WITHIN_S,
    ) -> None:
        """patience_s: how long a pass waits for one version."""
        self._registry = registry
        self._swapper = swapper
        self._tenants = tenants
        self._canaries = canaries
        self._swaps: InTurn[SwapResult | None] = InTurn(patience_s)

    async def run_once(self) -> Sequence[SwapResult]:
        """Swap to every adapter's newest approved version, or start its canary; returns what was swapped. While
        an adapter has an open rollout, what was approved waits. A swap that takes long holds up no other adapter's."""
        # Before what is approved is read: a rollout that ends in between may have retired it.
        busy = await self._canaries.busy()
        approved = await self._registry.with_status(VersionStatus.APPROVED)
        free = [each for each in approved if (each.tenant_id, each.adapter) not in busy]
        live, pointless = newest_of_each(free)
        for version in pointless:
            await self._set(version, VersionStatus.RETIRED, "a newer one was approved")
        results = self._swaps.ended()
        for version in live:
            place = version.tenant_id, version.adapter
            results += await self._swaps.do(place, partial(self._put_live, version))
        return [result for result in results if result is not None]

    async def close(self) -> None:
        """Ends the swaps that go on."""
        await self._swaps.close()

    async def _put_live(self, version: Version) -> SwapResult | None:
        try:
            policy = (await self._tenants.policy(version.tenant_id)).rollout()
        except GatewayError as error:
            log.error("the policy for %s cannot be read: %s", version.label, error)
            return None
        try:
            if not policy.at_once:
                await self._canaries.start(version, policy.plan(), ACTOR)
                return None
            place = version.tenant_id, version.adapter
            result = await self._swapper.swap(*place, version.id, ACTOR, guard=free_version(version))
        except AdaptersError as error:
            if isinstance(error, HOPELESS):
                await self._set(version, VersionStatus.REJECTED, str(error))
            else:
                log.warning("%s is not live yet: %s", version.label, error)
            return None
        log_swap(result)
        return result

    async def _set(self, version: Version, status: VersionStatus, reason: str) -> None:
        """Unless somebody changed the version's status since it was read."""
        guard = unchanged_version(version)
        try:
            async with self._canaries.engine.begin() as connection:
                changed = await set_status(connection, version.id, status, ACTOR, reason, guard=guard)
                if changed and status is VersionStatus.REJECTED:
                    await tell_rejected(connection, version, reason, ACTOR)
        except AdaptersError as error:
            log.warning("%s does not become %s: %s", version.label, status, error)
