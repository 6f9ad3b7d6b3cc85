"""What a tenant may use per minute and at once. Pure arithmetic over a clock; nothing waits.

Each worker enforces its share (limit / workers), so that no request pays a round trip. Tokens are reserved
from an estimate and reconciled with the real usage when the answer is there.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.errors import RateLimited
from gateway.policy import Limits

MINUTE_S = 60.0


@dataclass
class Bucket:
    """A token bucket that starts full and refills its capacity evenly within a minute."""

    capacity: float
    level: float
    at: float

    def refill(self, now: float) -> None:
        self.level = min(self.capacity, self.level + (now - self.at) * self.capacity / MINUTE_S)
        self.at = now

    def wait_s(self, amount: float) -> float:
        """Seconds until `amount` is there; 0 when it is. More than the capacity is asked of a full bucket
        only."""
        missing = min(amount, self.capacity) - self.level
        return max(0.0, missing * MINUTE_S / self.capacity)


@dataclass
class Usage:
    """One tenant's use in this worker."""

    limits: Limits
    buckets: dict[str, Bucket] = field(default_factory=dict)
    running: int = 0


@dataclass
class Admission:
    """A request that was let in. `close` it exactly once."""

    usage: Usage | None
    reserved: int = 0

    def close(self, tokens: int | None = None) -> None:
        """tokens: the real usage, prompt and completion together; None when unknown keeps the estimate."""
        if self.usage is None:
            return
        self.usage.running -= 1
        bucket = self.usage.buckets.get("tokens")
        if bucket and tokens is not None:
            bucket.level += self.reserved - tokens

    def headers(self) -> Mapping[str, str]:
        """OpenAI's `x-ratelimit-*`."""
        if self.usage is None:
            return {}
        found: dict[str, str] = {}
        for name, bucket in self.usage.buckets.items():
            found[f"x-ratelimit-limit-{name}"] = str(int(bucket.capacity))
            found[f"x-ratelimit-remaining-{name}"] = str(max(0, int(bucket.level)))
            found[f"x-ratelimit-reset-{name}"] = duration(bucket.wait_s(bucket.capacity))
        return found


class Limiter:
    """share: this worker's part of every limit, 1 / workers."""

    def __init__(self, share: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._clock = clock
        self._usage: dict[str, Usage] = {}

    def admit(self, tenant_id: str, limits: Limits, estimate: int) -> Admission:
        """estimate: tokens that the request is expected to use. Raises RateLimited; a refusal costs
        nothing."""
        if limits.unlimited:
            return Admission(None)
        usage = self._usage_of(tenant_id, limits)
        if limits.concurrency is not None and usage.running >= max(1, limits.concurrency * self._share):
            raise RateLimited("Too many requests at once.", retry_after_s=1.0)
        self._check(usage, {"requests": 1, "tokens": estimate})
        for name, amount in (("requests", 1), ("tokens", estimate)):
            if bucket := usage.buckets.get(name):
                bucket.level -= amount
        usage.running += 1
        return Admission(usage, estimate)

    def _check(self, usage: Usage, amounts: Mapping[str, int]) -> None:
        now = self._clock()
        for name, bucket in usage.buckets.items():
            bucket.refill(now)
            wait_s = bucket.wait_s(amounts[name])
            if wait_s > 0:
                raise RateLimited(f"Rate limit reached for {name} per minute.", retry_after_s=wait_s)

    def _usage_of(self, tenant_id: str, limits: Limits) -> Usage:
        usage = self._usage.get(tenant_id)
        if usage is None:
            usage = self._usage[tenant_id] = Usage(limits, self._buckets(limits))
        elif usage.limits != limits:
            usage.limits, usage.buckets = limits, self._buckets(limits)
        return usage

    def _buckets(self, limits: Limits) -> dict[str, Bucket]:
        now = self._clock()
        rates = {"requests": limits.requests_per_minute, "tokens": limits.tokens_per_minute}
        capacities = {name: max(1.0, rate * self._share) for name, rate in rates.items() if rate is not None}
        return {name: Bucket(capacity, capacity, now) for name, capacity in capacities.items()}


def duration(seconds: float) -> str:
    """As OpenAI writes it: `6m0s`, `1.5s`, `20ms`."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, MINUTE_S)
    return f"{int(minutes)}m{rest:.0f}s" if minutes else f"{rest:.3g}s"
