"""Letting a request in: its tenant's and its key's limits first, then its turn at the engine."""

from collections.abc import Mapping

from adapters.types import BASE_NAME
from gateway.errors import EngineUnavailable
from gateway.limits import Limiter
from gateway.principal import Principal
from gateway.reservation import Reservation
from gateway.turns import Place, Turns

NO_BASE_S = 10.0
"""When to try again where no engine holds an adapter's base model."""


class Admission:
    """A request that was let in. Whatever happens, `release` it at the end."""

    __slots__ = ("_estimate", "_place", "_principal", "_reservation", "_turns")

    def __init__(self, reservation: Reservation, turns: Turns, principal: Principal, estimate: int) -> None:
        self._reservation = reservation
        self._turns = turns
        self._principal = principal
        self._estimate = estimate
        self._place: Place | None = None

    async def turn(self) -> None:
        """Wait until the engine takes this request. Raises EngineUnavailable when that would take too long."""
        tenant = self._principal.tenant
        self._place = await self._turns.enter(tenant.id, tenant.policy.limits.weight, self._estimate)

    def settle(self, tokens: int | None) -> None:
        """The engine worked on it. tokens: prompt and completion together; None: unknown, the estimate stands."""
        if self._place is not None:
            self._reservation.settle(tokens)

    def release(self) -> None:
        """What was not settled costs nothing."""
        self._reservation.release()
        if self._place is not None:
            self._place.leave()

    def headers(self) -> Mapping[str, str]:
        """OpenAI's `x-ratelimit-*`."""
        return self._reservation.headers()


class Admissions:
    """The one of a worker."""

    def __init__(self, limiter: Limiter, turns: Mapping[str, Turns]) -> None:
        """turns: by base model."""
        self._limiter = limiter
        self._turns = turns

    async def admit(self, principal: Principal, estimate: int, base: str = BASE_NAME) -> Admission:
        """estimate: tokens that the request is expected to use. base: the model that it is for. Raises RateLimited or
        InsufficientQuota, and EngineUnavailable when no engine holds this base model."""
        turns = self._turns.get(base)
        if turns is None:
            raise EngineUnavailable("No engine holds this adapter's base model.", retry_after_s=NO_BASE_S)
        return Admission(await self.reserve(principal, estimate), turns, principal, estimate)

    async def reserve(self, principal: Principal, estimate: int) -> Reservation:
        """For what no engine works on: it counts, and waits for no turn. Raises RateLimited or InsufficientQuota."""
        tenant, key = principal.tenant, principal.key
        owners = (tenant.id, tenant.policy.limits), (key.id, key.limits)
        return await self._limiter.admit(owners, estimate)
