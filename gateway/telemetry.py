"""What the gateway measures. One registry per worker; labels are tenants and live versions, so they stay
few."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import generate_latest

from gateway.routing import Route
from gateway.tallies import Answers, Overheads


class Measured(NamedTuple):
    """One finished request. Times in seconds."""

    tenant_id: str
    route: Route
    status: int
    seconds: float
    overhead: float
    """Spent in the gateway and in retrieval, not waiting for the engine."""
    queued: float
    """Of `overhead`: until it was the request's turn."""
    retrieving: float
    """Of `overhead`: for passages and memory."""
    first_token: float | None
    usage: Mapping[str, int] | None
    retries: int


class Telemetry:
    """Metric names follow OpenTelemetry's GenAI conventions where those have one."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._answers = Answers()
        self.registry.register(self._answers)
        self._overheads = Overheads()
        self.registry.register(self._overheads)
        self._retries = Counter("graft_retries", "Requests sent to an engine again", registry=self.registry)
        self._refused = Counter("graft_refused", "Answered with an error", ("code",), registry=self.registry)
        self.inflight = 0
        Gauge("graft_inflight", "Chat requests in flight", registry=self.registry).set_function(
            lambda: self.inflight
        )
        self.journal_dropped = Gauge(
            "graft_journal_dropped_total",
            "Interactions lost before the learner read them; what it cannot store is in its log",
            registry=self.registry,
        )
        self.feedback = Counter(
            "graft_feedback", "Feedback by what became of it", ("memory",), registry=self.registry
        )

    def record(self, measured: Measured) -> None:
        series = self._answers.series[measured.tenant_id, measured.route.label, measured.route.arm]
        series.used = True
        series.seconds[measured.status].observe(measured.seconds)
        usage = measured.usage or {}
        completed = usage.get("completion_tokens", 0)
        series.prompt_tokens += usage.get("prompt_tokens", 0)
        series.completion_tokens += completed
        if measured.first_token is not None:
            series.first_token.observe(measured.first_token)
            if completed > 1:
                series.token_seconds.observe((measured.seconds - measured.first_token) / (completed - 1))
        own, stages = measured.overhead - measured.queued - measured.retrieving, self._overheads.stages
        stages["gateway"].observe(own)
        if measured.queued:
            stages["queue"].observe(measured.queued)
        if measured.retrieving:
            stages["retrieve"].observe(measured.retrieving)
        if measured.retries:
            self._retries.inc(measured.retries)

    def refuse(self, code: str) -> None:
        self._refused.labels(code).inc()

    def forget(self, live: Callable[[str, str], bool]) -> None:
        """Drop the series of versions that nobody used since the last time and that no longer live.

        live: of a tenant's id and a version's label.
        """
        for labels, series in list(self._answers.series.items()):
            if not (series.used or live(labels[0], labels[1])):
                del self._answers.series[labels]
            series.used = False

    def exposition(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)
