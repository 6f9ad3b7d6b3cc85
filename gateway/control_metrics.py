"""What control measures: swaps, what engines hold, what gates decided. Labels are stages, replicas and verdicts."""

from collections.abc import Collection, Mapping

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.swap import SwapResult
from training.tables import runs

STAGES = ("load", "probe", "flip", "visible", "drain", "unload")
SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class ControlMetrics:
    """Of one control process: swaps and residency are those of the leader."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.registry = CollectorRegistry()
        self._swaps = Histogram(
            "graft_swap_seconds",
            "Swaps and rollbacks, by stage",
            ("stage",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._resident = Gauge(
            "graft_resident_versions", "Versions in an engine's memory", ("replica",), registry=self.registry
        )
        self._gates = Gauge(
            "graft_gate_total", "Judgements of gates, by verdict", ("verdict",), registry=self.registry
        )

    def swapped(self, result: SwapResult) -> None:
        for stage in STAGES:
            self._swaps.labels(stage).observe(getattr(result, f"{stage}_ms") / 1000)

    def resident(self, versions: Mapping[str, Collection[str]]) -> None:
        """versions: by the URL of each replica that answers."""
        self._resident.clear()
        for url, names in versions.items():
            self._resident.labels(url).set(len(names))

    async def exposition(self) -> bytes:
        """Prometheus' text format. What gates decided is read from the record, which keeps every run."""
        verdict = runs.c.report["verdict"].as_string()
        query = sa.select(verdict, sa.func.count()).where(verdict.is_not(None)).group_by(verdict)
        async with self._engine.connect() as connection:
            for name, number in (await connection.execute(query)).all():
                self._gates.labels(name).set(number)
        return generate_latest(self.registry)
