"""Open rollouts: what was counted is read, decided on and acted upon; people may act as well. Everything is in the
record, so a control that starts goes on where another ended."""

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import sqlalchemy as sa
from pydantic import ValidationError
from redis.exceptions import RedisError
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import rollout_records
from adapters.errors import HOPELESS, AdaptersError, ConflictError
from adapters.guards import unchanged_rollout
from adapters.registry import Registry
from adapters.rollout import Action, Decision, Plan
from adapters.swap import Swapper, SwapResult, Workers
from adapters.tasks import InTurn
from adapters.types import Alias, Rollout, RolloutKind, RolloutStatus, Version, VersionStatus
from gateway.errors import GatewayError
from gateway.judgement import judged
from gateway.rollout_moves import RolloutMoves
from gateway.shadow_counts import ShadowCounts
from training.tables import interactions

log = logging.getLogger(__name__)

ACTOR = "system:rollout"
MOVING = (RolloutStatus.RUNNING, RolloutStatus.PAUSED)
LOOKED_WITHIN_S = 1.0
"""How long a pass waits for one rollout: what it decides may be a swap, which waits for the last request."""


@dataclass(frozen=True)
class Canaries:
    """`run_once` is one pass of control's leader; the other methods are a person's. They raise ConflictError for a
    rollout that is not in the state for it, or that somebody else just changed."""

    engine: AsyncEngine
    registry: Registry
    swapper: Swapper
    workers: Workers
    moves: RolloutMoves
    counts: ShadowCounts
    looks: InTurn[None] = field(default_factory=lambda: InTurn(LOOKED_WITHIN_S))

    async def busy(self) -> set[tuple[str, str]]:
        """Tenant and adapter of every open rollout."""
        return {(each.tenant_id, each.adapter) for each in await self.open()}

    async def open(self) -> Sequence[Rollout]:
        async with self.engine.connect() as connection:
            return await rollout_records.open_ones(connection)

    async def start(self, version: Version, plan: Plan, actor: str) -> Rollout:
        """Raises IllegalTransition, ArtifactError, EngineError, ProbeFailed."""
        async with self.swapper.loaded(version.id, serving=True):
            rollout, change = await self.moves.start_canary(version, plan, actor)
        await self.workers.announce(change)
        return rollout

    async def start_other(
        self,
        kind: RolloutKind,
        version: Version,
        against_id: str | None,
        share: float,
        actor: str,
        budget_tokens: int | None = None,
    ) -> Rollout:
        """An A/B test or a shadow. share: percent of the traffic. What an A/B test newly gives to users must pass the
        adapter's checks. Raises as `start`."""
        stable, _ = await self.registry.alias(version.tenant_id, version.adapter, Alias.STABLE)
        async with contextlib.AsyncExitStack() as held:
            for each in [version.id, *([against_id] if against_id else [])]:
                serving = kind is RolloutKind.AB and each != stable
                await held.enter_async_context(self.swapper.loaded(each, serving=serving))
            started = self.moves.start_other(kind, version, against_id, share, actor, budget_tokens)
            rollout, change = await started
        await self.workers.announce(change)
        return rollout

    async def run_once(self) -> None:
        """One pass over all open rollouts. One that fails, or takes long, does not hold up the others."""
        self.looks.ended()
        for rollout in await self.open():
            await self.looks.do(rollout.id, partial(self._looked, rollout))

    async def close(self) -> None:
        """Ends what goes on of it."""
        await self.looks.close()

    # ------------------------------------------------------------------------------------ people

    async def pause(self, rollout: Rollout, reason: str, actor: str) -> None:
        self._require(rollout, RolloutStatus.RUNNING)
        if rollout.kind is not RolloutKind.CANARY:
            raise ConflictError(f"rollout {rollout.id} is no canary: abort it")
        await self._tell(await self.moves.pause(rollout, Decision(Action.PAUSE, reason), actor))

    async def resume(self, rollout: Rollout, actor: str) -> None:
        self._require(rollout, RolloutStatus.PAUSED)
        await self._tell(await self.moves.resume(rollout, actor))

    async def promote(self, rollout: Rollout, reason: str, actor: str, *, one_step: bool) -> None:
        """To 100 %, or only to the next step, whatever was counted."""
        self._require(rollout, *MOVING)
        if rollout.kind is not RolloutKind.CANARY:
            raise ConflictError(f"rollout {rollout.id} is no canary: swap to the version that you chose")
        following = rollout.step + 1
        if one_step and following < len(rollout.plan.steps) - 1:
            decision = Decision(Action.ADVANCE, reason, following)
            await self._tell(await self.moves.advance(rollout, decision, actor))
        else:
            await self._promote(rollout, Decision(Action.PROMOTE, reason), actor)

    async def abort(self, rollout: Rollout, reason: str, actor: str) -> None:
        """Back to what served before. An A/B test or a shadow ends, and what was approved of it stays away from users
        until a person swaps to it."""
        if rollout.kind is RolloutKind.CANARY:
            try:
                await self._abort_canary(rollout, reason, actor)
            except (
                ConflictError
            ):  # the loop moved it in this moment; if it was not the loop, this says so again
                await self._abort_canary(rollout, reason, actor)
            return
        self._require(rollout, *MOVING, RolloutStatus.WATCHING)
        decision, status = Decision(Action.FINISH, reason), RolloutStatus.FINISHED
        retired = VersionStatus.RETIRED
        await self._tell(await self.moves.end(rollout, status, decision, actor, version=retired))

    async def _abort_canary(self, rollout: Rollout, reason: str, actor: str) -> None:
        now = await self._caught_up(rollout)
        self._require(now, *MOVING, RolloutStatus.WATCHING)
        await self._roll_back(now, Decision(Action.ROLL_BACK, reason), actor, RolloutStatus.ABORTED)

    def _require(self, rollout: Rollout, *statuses: RolloutStatus) -> None:
        if rollout.status not in statuses:
            raise ConflictError(f"rollout {rollout.id} is {rollout.status}")

    # ------------------------------------------------------------------------------------ the loop

    async def _looked(self, rollout: Rollout) -> None:
        try:
            await self._look(rollout)
        except (AdaptersError, GatewayError, ValidationError) as error:
            log.warning("rollout %s: %s", rollout.id, error)

    async def _look(self, rollout: Rollout) -> None:
        version = await self.registry.version(rollout.version_id)
        if rollout.kind is not RolloutKind.CANARY:
            return await self._look_at_comparison(rollout, version)
        stable, _ = await self.registry.alias(rollout.tenant_id, rollout.adapter, Alias.STABLE)
        if await self._overtaken(rollout, version, stable):
            return None
        async with self.engine.connect() as connection:
            decision = await judged(connection, rollout)
        await self._act(rollout, decision)

    async def _act(self, rollout: Rollout, decision: Decision) -> None:
        if decision.action is Action.ROLL_BACK:
            await self._roll_back(rollout, decision, ACTOR, RolloutStatus.ROLLED_BACK)
        elif decision.action is Action.FINISH:
            await self._tell(await self.moves.end(rollout, RolloutStatus.PROMOTED, decision, ACTOR))
        elif rollout.status is RolloutStatus.PAUSED:
            return
        elif decision.action is Action.PAUSE:
            await self._tell(await self.moves.pause(rollout, decision, ACTOR))
        elif decision.action is Action.ADVANCE:
            await self._tell(await self.moves.advance(rollout, decision, ACTOR))
        elif decision.action is Action.PROMOTE:
            await self._promote_or_reject(rollout, decision)
        else:
            await self.moves.note(rollout, decision, ACTOR)

    async def _overtaken(self, rollout: Rollout, version: Version, stable: str | None) -> bool:
        """Somebody moved the alias or judged the version."""
        if await self._noted(rollout, stable):
            return True
        watching = rollout.status is RolloutStatus.WATCHING
        if stable == (rollout.version_id if watching else rollout.against_id):
            if version.status is not VersionStatus.REJECTED:
                return False
            reason = "the version was rejected"
        else:
            reason = "the stable alias was moved meanwhile"
        back = watching and version.status is VersionStatus.ROLLED_BACK
        status = RolloutStatus.ROLLED_BACK if back else RolloutStatus.OVERRIDDEN
        decision = Decision(Action.ROLL_BACK, "rolled back" if back else reason)
        await self._tell(
            await self.moves.end(rollout, status, decision, ACTOR, version=VersionStatus.RETIRED)
        )
        return True

    async def _noted(self, rollout: Rollout, stable: str | None) -> bool:
        """Whether the alias has come to a candidate that still waits for it, which is noted: a swap of control's
        drains, or control died before its note, or a person swapped."""
        if rollout.status not in MOVING or stable != rollout.version_id:
            return False
        decision = Decision(Action.PROMOTE, "the alias points to it")
        await self._tell(await self.moves.took_over(rollout, decision, ACTOR))
        return True

    async def _caught_up(self, rollout: Rollout) -> Rollout:
        """A canary as it is now, its takeover noted."""
        place = rollout.tenant_id, rollout.adapter
        stable, _ = await self.registry.alias(*place, Alias.STABLE)
        with contextlib.suppress(ConflictError):  # the loop did it first
            await self._noted(rollout, stable)
        async with self.engine.connect() as connection:
            return await rollout_records.get(connection, *place, rollout.id)

    async def _look_at_comparison(self, rollout: Rollout, version: Version) -> None:
        """An A/B test or a shadow ends when a person moves the alias or rejects the version, a shadow when its budget
        is spent. A moved alias stays where it is."""
        history = await self.registry.alias_history(rollout.tenant_id, rollout.adapter, Alias.STABLE, 1)
        moved = any(move.at > rollout.created_at for move in history)
        if moved or version.status is VersionStatus.REJECTED:
            reason = "the stable alias was moved meanwhile" if moved else "the version was rejected"
            decision, status = Decision(Action.FINISH, reason), RolloutStatus.OVERRIDDEN
        elif rollout.kind is RolloutKind.SHADOW:
            tokens = await self._tokens(rollout)
            if tokens < (rollout.budget_tokens or 0):
                return
            decision = Decision(Action.FINISH, "the budget is spent", numbers={"tokens": tokens})
            status = RolloutStatus.FINISHED
        else:
            return
        retired = VersionStatus.RETIRED if moved else None
        await self._tell(await self.moves.end(rollout, status, decision, ACTOR, version=retired))

    async def _tokens(self, rollout: Rollout) -> int:
        """By the journal, or by the count that workers stop at, which knows of more when rows were lost or an engine
        told of no usage."""
        spent = sa.func.sum(interactions.c.usage["total_tokens"].as_integer())
        query = sa.select(spent).where(interactions.c.rollout == rollout.reference())
        async with self.engine.connect() as connection:
            tokens = int(await connection.scalar(query) or 0)
        with contextlib.suppress(RedisError, OSError):
            tokens = max(tokens, await self.counts.spent(rollout.id))
        return tokens

    # ------------------------------------------------------------------------------------ both

    async def _promote_or_reject(self, rollout: Rollout, decision: Decision) -> None:
        try:
            await self._promote(rollout, decision, ACTOR)
        except HOPELESS as error:
            back = Decision(Action.ROLL_BACK, str(error), numbers=decision.numbers)
            ended, rejected = RolloutStatus.ROLLED_BACK, VersionStatus.REJECTED
            await self._tell(await self.moves.end(rollout, ended, back, ACTOR, version=rejected))

    async def _promote(self, rollout: Rollout, decision: Decision, actor: str) -> None:
        """Unless somebody pauses or ends the rollout before the alias moves."""
        revision = await self._revision(rollout, rollout.against_id)
        place, guard = (rollout.tenant_id, rollout.adapter), unchanged_rollout(rollout)
        result = await self.swapper.swap(*place, rollout.version_id, actor, revision, guard=guard)
        log_swap(result)
        with contextlib.suppress(ConflictError):  # the loop saw the swap and noted it first
            await self._tell(await self.moves.took_over(rollout, decision, actor))

    async def _roll_back(
        self, rollout: Rollout, decision: Decision, actor: str, status: RolloutStatus
    ) -> None:
        rolled_back = VersionStatus.ROLLED_BACK
        if rollout.status is not RolloutStatus.WATCHING:
            await self._tell(await self.moves.end(rollout, status, decision, actor, version=rolled_back))
            return
        revision = await self._revision(rollout, rollout.version_id)
        result = await self.swapper.rollback(rollout.tenant_id, rollout.adapter, actor, revision)
        log_swap(result)
        with contextlib.suppress(ConflictError):  # as above
            await self._tell(await self.moves.end(rollout, status, decision, actor))

    async def _revision(self, rollout: Rollout, expected: str | None) -> int:
        """The stable alias's, if it points where the rollout left it: what a person did meanwhile stays."""
        stable, revision = await self.registry.alias(rollout.tenant_id, rollout.adapter, Alias.STABLE)
        if stable != expected:
            raise ConflictError(f"the stable alias of {rollout.adapter!r} was moved meanwhile")
        return revision

    async def _tell(self, change: int) -> None:
        await self.workers.announce(change)


def log_swap(result: SwapResult) -> None:
    """What only the end of a swap tells; the audit log has the rest."""
    log.info(
        "stable of %s in %s is %s: %.0f ms, %d workers serve it",
        result.adapter,
        result.tenant_id,
        result.version_id or "the base model",
        result.total_ms,
        result.workers,
    )
