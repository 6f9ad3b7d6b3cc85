"""How often versions were asked for lately: a count that halves every minute."""

from collections.abc import Mapping
from heapq import nlargest

HALF_LIFE_S = 60.0
COLD = 0.01
"""Below this a version is forgotten."""


class Heat:
    """By version id."""

    def __init__(self, now: float) -> None:
        self._heat: dict[str, float] = {}
        self._at = now

    def add(self, asked: Mapping[str, float], now: float) -> None:
        """asked: requests since the last call."""
        fade = 0.5 ** ((now - self._at) / HALF_LIFE_S)
        self._at = now
        faded = {name: heat * fade for name, heat in self._heat.items() if heat * fade > COLD}
        self._heat = faded | {name: faded.get(name, 0.0) + count for name, count in asked.items()}

    def of(self, version_id: str) -> float:
        return self._heat.get(version_id, 0.0)

    def hottest(self, most: int) -> Mapping[str, float]:
        """So many, without those that are cold."""
        return dict(nlargest(most, self._heat.items(), key=lambda item: item[1]))
