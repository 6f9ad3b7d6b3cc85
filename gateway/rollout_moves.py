"""A rollout's moves. Each is one transaction: the rollout, its decision, the version's status, the candidate alias, the
audit entry, the webhook's call and the change that workers follow."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters import acts, audit, changes, rollout_records
from adapters.audit import Act
from adapters.errors import ArtifactMissing, ConflictError
from adapters.records import add_history, point_alias, read_alias, require_version
from adapters.rollout import WHOLE, Action, Decision, Plan, bounds_from, next_step
from adapters.statuses import change_status
from adapters.types import Alias, AliasMove, Rollout, RolloutKind, RolloutStatus, Version, VersionStatus
from gateway import signals
from gateway.tenants import TenantStore
from gateway.webhooks import enqueue

TOLD = frozenset(f"rollout.{what}" for what in ("promoted", "paused", "rolled_back", "aborted", "overridden"))
"""What a webhook hears of."""
SERVABLE = frozenset(
    {VersionStatus.APPROVED, VersionStatus.STABLE, VersionStatus.RETIRED, VersionStatus.ROLLED_BACK}
)
"""Versions that may answer users in an A/B test, or be compared."""
ON_THEIR_WAY = frozenset({VersionStatus.APPROVED, VersionStatus.CANARY})
"""Versions that would go live by themselves once no rollout is open."""
UNJUDGED = frozenset({VersionStatus.REGISTERED, VersionStatus.GATING})
"""Versions that may be a shadow too, whose answers nobody gets."""
LIVE = {RolloutStatus.WATCHING, RolloutStatus.PROMOTED}


class RolloutMoves:
    """Every method returns the position of its change. Raises ConflictError when somebody else was faster."""

    def __init__(self, engine: AsyncEngine, tenants: TenantStore) -> None:
        self._engine = engine
        self._tenants = tenants

    async def start_canary(self, version: Version, plan: Plan, actor: str) -> tuple[Rollout, int]:
        """The version must be loaded: its first request may come at once. Steps that the adapter's traffic cannot fill
        are skipped."""
        now = datetime.now(UTC)
        place = version.tenant_id, version.adapter
        async with self._engine.connect() as connection:
            against, _ = await read_alias(connection, *place, Alias.STABLE)
            before = await signals.read_before(connection, *place, against)
            traffic = await signals.traffic(connection, *place, now, plan.max_step_seconds)
        step = next_step(plan, -1, 0.0, traffic)
        rollout = replace(
            _new(version, RolloutKind.CANARY, against, plan, plan.steps[step], actor, now),
            step=step,
            slow_ms=before.slow_ms,
            bounds={k.value: v for k, v in bounds_from(before.counts, plan.alpha).items()},
        )
        async with self._engine.begin() as connection:
            change = await changes.append(connection, version.tenant_id)
            if (await read_alias(connection, *place, Alias.STABLE))[0] != against:
                raise ConflictError(f"the stable alias of {version.adapter!r} was moved meanwhile")
            await change_status(connection, version.id, VersionStatus.CANARY)
            await self._begin(connection, rollout, actor, change, {"traffic": traffic})
        return rollout, change

    async def start_other(
        self,
        kind: RolloutKind,
        version: Version,
        against_id: str | None,
        share: float,
        actor: str,
        budget_tokens: int | None = None,
    ) -> tuple[Rollout, int]:
        """An A/B test or a shadow; it moves no alias but `candidate`."""
        now = datetime.now(UTC)
        async with self._engine.begin() as connection:
            change = await changes.append(connection, version.tenant_id)
            allowed = SERVABLE | UNJUDGED if kind is RolloutKind.SHADOW else SERVABLE
            for each in [version.id, *([against_id] if against_id else [])]:
                found = await require_version(connection, each)
                if found.status not in allowed:
                    raise ConflictError(f"version {each} is {found.status} and cannot be compared")
                if found.pruned_at is not None:
                    raise ArtifactMissing(found.artifact_digest)
            before = await signals.read_before(connection, version.tenant_id, version.adapter, against_id)
            rollout = replace(
                _new(version, kind, against_id, Plan(), share, actor, now),
                slow_ms=before.slow_ms,
                budget_tokens=budget_tokens,
            )
            await self._begin(connection, rollout, actor, change, {})
        return rollout, change

    async def advance(self, rollout: Rollout, decision: Decision, actor: str) -> int:
        """To the step that the decision names."""
        share = rollout.plan.steps[decision.step]
        after = replace(
            rollout,
            step=decision.step,
            shares=[*rollout.shares, share],
            step_started_at=datetime.now(UTC),
            reason=decision.reason,
            status=RolloutStatus.RUNNING,
        )
        return await self._write(rollout, after, decision, actor, "rollout.advanced")

    async def took_over(self, rollout: Rollout, decision: Decision, actor: str) -> int:
        """After the swap: the candidate has the alias, and is watched where the plan says so."""
        now = datetime.now(UTC)
        watched = rollout.plan.watch_seconds > 0
        after = replace(
            rollout,
            status=RolloutStatus.WATCHING if watched else RolloutStatus.PROMOTED,
            shares=[*rollout.shares, WHOLE],
            step=len(rollout.plan.steps) - 1,
            step_started_at=now,
            ended_at=None if watched else now,
            reason=decision.reason,
        )
        return await self._write(rollout, after, decision, actor, "rollout.promoted", clear=True)

    async def pause(self, rollout: Rollout, decision: Decision, actor: str) -> int:
        """The share stays; signs of harm still end the rollout."""
        after = replace(rollout, status=RolloutStatus.PAUSED, reason=decision.reason)
        return await self._write(rollout, after, decision, actor, "rollout.paused")

    async def resume(self, rollout: Rollout, actor: str) -> int:
        """The present step's time starts anew."""
        decision = Decision(Action.HOLD, "resumed")
        after = replace(
            rollout, status=RolloutStatus.RUNNING, step_started_at=datetime.now(UTC), reason="resumed"
        )
        return await self._write(rollout, after, decision, actor, "rollout.resumed")

    async def end(
        self,
        rollout: Rollout,
        status: RolloutStatus,
        decision: Decision,
        actor: str,
        version: VersionStatus | None = None,
    ) -> int:
        """version: what becomes of those of its versions that are still on their way."""
        after = replace(rollout, status=status, ended_at=datetime.now(UTC), reason=decision.reason)
        kept = rollout.status is RolloutStatus.WATCHING and status is RolloutStatus.PROMOTED
        action = "rollout.kept" if kept else f"rollout.{status.value}"
        return await self._write(rollout, after, decision, actor, action, clear=True, version=version)

    async def note(self, rollout: Rollout, decision: Decision, actor: str) -> None:
        """A decision that changes nothing, once for as long as its reason stays."""
        if decision.reason == rollout.reason:
            return
        async with self._engine.begin() as connection:
            await rollout_records.update(connection, replace(rollout, reason=decision.reason))
            await rollout_records.add_decision(connection, rollout.id, actor, decision)

    async def _begin(
        self,
        connection: AsyncConnection,
        rollout: Rollout,
        actor: str,
        change: int,
        numbers: Mapping[str, Any],
    ) -> None:
        await rollout_records.insert(connection, rollout)
        await _point(connection, rollout, rollout.version_id, actor, change)
        decision = Decision(Action.ADVANCE, "started", rollout.step, {"share": rollout.shares[0], **numbers})
        await rollout_records.add_decision(connection, rollout.id, actor, decision)
        await audit.record(connection, _act(rollout, "rollout.started", actor, decision))

    async def _write(
        self,
        before: Rollout,
        after: Rollout,
        decision: Decision,
        actor: str,
        action: str,
        *,
        clear: bool = False,
        version: VersionStatus | None = None,
    ) -> int:
        policy = (await self._tenants.policy(after.tenant_id)).policy.rollout
        async with self._engine.begin() as connection:
            change = await changes.append(connection, after.tenant_id)
            if not LIVE & {before.status, after.status}:
                await _require_not_live(connection, before)
            await rollout_records.update(connection, after)
            if clear:
                await _point(connection, after, None, actor, change)
            candidate = await require_version(connection, after.version_id)
            if version is not None:
                await _stop(connection, after, version, actor, decision.reason)
            await rollout_records.add_decision(connection, after.id, actor, decision)
            await audit.record(connection, _act(after, action, actor, decision))
            if policy.webhook and action in TOLD:
                data = _told(after, candidate, decision, actor)
                await enqueue(connection, after.tenant_id, policy.webhook, action, data)
        return change


async def _point(
    connection: AsyncConnection, rollout: Rollout, version_id: str | None, actor: str, change: int
) -> None:
    """`candidate` follows the rollout: testers ask for it by that name."""
    place = rollout.tenant_id, rollout.adapter
    previous, revision = await read_alias(connection, *place, Alias.CANDIDATE)
    if previous == version_id:
        return
    await point_alias(connection, *place, Alias.CANDIDATE, version_id, revision)
    now = datetime.now(UTC)
    move = AliasMove(*place, Alias.CANDIDATE, version_id, previous, actor, now, change)
    await add_history(connection, move)


async def _require_not_live(connection: AsyncConnection, rollout: Rollout) -> None:
    """Raises ConflictError for a canary whose takeover is not noted yet."""
    stable, _ = await read_alias(connection, rollout.tenant_id, rollout.adapter, Alias.STABLE)
    if rollout.kind is RolloutKind.CANARY and stable == rollout.version_id:
        raise ConflictError(f"rollout {rollout.id}: its version has just taken over")


async def _stop(
    connection: AsyncConnection, rollout: Rollout, status: VersionStatus, actor: str, reason: str
) -> None:
    """Those of its versions that are on their way become this. A rejection is audited as everywhere."""
    for each in filter(None, (rollout.version_id, rollout.against_id)):
        version = await require_version(connection, each)
        if version.status in ON_THEIR_WAY:
            await change_status(connection, each, status)
            if status is VersionStatus.REJECTED:
                await audit.record(connection, acts.of_version(version, status, actor, reason=reason))


def _new(
    version: Version,
    kind: RolloutKind,
    against_id: str | None,
    plan: Plan,
    share: float,
    actor: str,
    now: datetime,
) -> Rollout:
    shares: Sequence[float] = [share]
    return Rollout(
        id=f"rol_{secrets.token_hex(12)}",
        tenant_id=version.tenant_id,
        adapter=version.adapter,
        kind=kind,
        version_id=version.id,
        against_id=against_id,
        status=RolloutStatus.RUNNING,
        plan=plan,
        step=0,
        shares=shares,
        budget_tokens=None,
        slow_ms=None,
        bounds={},
        actor=actor,
        reason="started",
        revision=1,
        created_at=now,
        step_started_at=now,
        ended_at=None,
    )


def _told(rollout: Rollout, candidate: Version, decision: Decision, actor: str) -> dict[str, Any]:
    """What a webhook gets."""
    return {
        "rollout_id": rollout.id,
        "tenant_id": rollout.tenant_id,
        "adapter": rollout.adapter,
        "version": candidate.label,
        "version_id": candidate.id,
        "status": rollout.status.value,
        "reason": decision.reason,
        "actor": actor,
        "numbers": dict(decision.numbers),
    }


def _act(rollout: Rollout, action: str, actor: str, decision: Decision) -> Act:
    detail = {
        "adapter": rollout.adapter,
        "kind": rollout.kind.value,
        "version": rollout.version_id,
        "share": rollout.shares[-1],
        "reason": decision.reason,
    }
    return Act(actor, action, rollout.id, rollout.tenant_id, detail)
