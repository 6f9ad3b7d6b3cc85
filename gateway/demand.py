"""Which versions this worker was asked for lately, and which it expects to be asked for: what control chooses by when
there are more versions than the engines hold.
"""

import time
from collections.abc import Callable, Mapping

from adapters.types import Alias
from gateway.snapshot import TenantView

SESSION_S = 300.0
"""A tenant that was silent for so long begins a new session: all that it may ask for next is fetched ahead."""
EXPECTED = 0.05
"""What an expected request counts beside one that came."""
FORGET_ABOVE = 100_000


class Demand:
    """Counts since it was last taken. Lives on the event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked: dict[str, float] = {}
        self._seen: dict[str, float] = {}
        self.fresh = False
        """Whether a session began since the counts were last taken."""

    def note(self, tenant: TenantView, version_id: str | None) -> None:
        """A request was routed to this version; None: to the base model."""
        if version_id is not None:
            self._asked[version_id] = self._asked.get(version_id, 0.0) + 1.0
        now = self._clock()
        if now - self._seen.get(tenant.id, -SESSION_S) >= SESSION_S:
            self._begin(tenant)
        self._seen[tenant.id] = now

    def take(self) -> Mapping[str, float]:
        """The counts, which start anew."""
        taken, self._asked, self.fresh = self._asked, {}, False
        return taken

    def give_back(self, taken: Mapping[str, float]) -> None:
        """They could not be told."""
        for version_id, count in taken.items():
            self._asked[version_id] = self._asked.get(version_id, 0.0) + count

    def _begin(self, tenant: TenantView) -> None:
        for adapter in tenant.adapters.values():
            version_id = adapter.aliases.get(Alias.STABLE)
            if version_id is not None:
                self._asked.setdefault(version_id, EXPECTED)
                self.fresh = True
        if len(self._seen) > FORGET_ABOVE:
            recent = self._clock() - SESSION_S
            self._seen = {name: at for name, at in self._seen.items() if at > recent}
