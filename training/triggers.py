"""When a run starts. Pure: counters in, the trigger that fires out."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from training.types import TriggerPolicy

COUNT = "count"
_BACK_OFF = 5
"""Cool-downs to wait after a run that failed: what broke it may still be broken."""


@dataclass(frozen=True)
class Counters:
    """What the record says about one adapter."""

    tenant_id: str
    adapter: str
    accepted: int
    """Accepted corrections that no run has taken up yet."""
    latest_at: datetime | None
    """When the newest of them came."""
    last_run_at: datetime | None = None
    """When the last run ended, or last moved."""
    last_run_failed: bool = False
    busy: bool = False
    """A run is queued or running."""


def decide(policy: TriggerPolicy, counters: Counters, at: datetime) -> str | None:
    """Name of the trigger that starts a run now, if any does."""
    if counters.busy or counters.latest_at is None or counters.accepted < policy.count:
        return None
    if at - counters.latest_at < timedelta(seconds=policy.debounce_seconds):
        return None
    if counters.last_run_at is not None:
        cooldown = policy.cooldown_seconds * (_BACK_OFF if counters.last_run_failed else 1)
        if at - counters.last_run_at < timedelta(seconds=cooldown):
            return None
    return COUNT
