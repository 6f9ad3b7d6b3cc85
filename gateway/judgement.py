"""What an open rollout's counts say: go on, wait, stop."""

from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.rollout import WHOLE, Action, Decision, Signal, decide, watch
from adapters.types import Rollout, RolloutStatus
from gateway import signals


async def judged(connection: AsyncConnection, rollout: Rollout) -> Decision:
    """Of a canary. A candidate with all of the traffic is judged as in a watch, also before the alias points to it.
    Raises ValueError for a bound of a signal that is unknown here."""
    now = datetime.now(UTC)
    elapsed = (now - rollout.step_started_at).total_seconds()
    if rollout.plan.steps[rollout.step] < WHOLE:
        seen = await signals.read_steps(connection, rollout)
        place = rollout.tenant_id, rollout.adapter
        traffic = await signals.traffic(connection, *place, now, rollout.plan.max_step_seconds)
        return decide(rollout.plan, rollout.step, seen, elapsed, traffic)
    counts = await signals.read_watch(connection, rollout)
    bounds = {Signal(name): bound for name, bound in rollout.bounds.items()}
    decision = watch(rollout.plan, counts, bounds, elapsed)
    if rollout.status is RolloutStatus.WATCHING or decision.action is Action.ROLL_BACK:
        return decision
    return Decision(Action.PROMOTE, "too little traffic for a smaller step")
