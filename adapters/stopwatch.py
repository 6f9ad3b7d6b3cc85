"""How long the stages of a swap take."""

import time


class Stopwatch:
    """Laps in milliseconds, each since the one before; those of one stage add up."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self._laps[stage] = self._laps.get(stage, 0.0) + (now - self._last) * 1000
        self._last = now

    def stages(self) -> dict[str, float]:
        names = ("load", "probe", "flip", "visible", "drain", "unload")
        return {f"{name}_ms": self._laps.get(name, 0.0) for name in names}
