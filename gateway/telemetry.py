"""What the gateway measures. One registry per worker; labels are tenants and live versions, so they stay
few."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from gateway.routing import Route

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
OVERHEAD_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)

LABELS = ("tenant", "version", "arm")


@dataclass(frozen=True)
class Measured:
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
        labels = LABELS
        self._series: dict[tuple[str, str, str], bool] = {}
        """Those that exist, and whether they were used since the last `forget`."""
        self._child: Any = cache(lambda metric, *labels: metric.labels(*labels))
        """Finding a metric's child by its labels costs more than counting in it."""
        self._seconds = Histogram(
            "gen_ai_server_request_duration_seconds",
            "Whole request",
            (*labels, "status"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._first_token = Histogram(
            "gen_ai_server_time_to_first_token_seconds",
            "Streams only",
            labels,
            buckets=SECONDS,
            registry=self.registry,
        )
        self._token_seconds = Histogram(
            "gen_ai_server_time_per_output_token_seconds",
            "Streams only: after the first token, per token",
            labels,
            buckets=TOKEN_SECONDS,
            registry=self.registry,
        )
        self._tokens = Counter(
            "gen_ai_client_token_usage", "Tokens", (*labels, "kind"), registry=self.registry
        )
        self._overhead = Histogram(
            "graft_overhead_seconds",
            "What a request does not spend in the engine, by stage; waiting and retrieving where it came to that",
            ("stage",),
            buckets=OVERHEAD_SECONDS,
            registry=self.registry,
        )
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
        labels = measured.tenant_id, measured.route.label, measured.route.arm
        self._child(self._seconds, *labels, measured.status).observe(measured.seconds)
        self._overheads(measured)
        self._series[labels] = True
        if measured.first_token is not None:
            self._child(self._first_token, *labels).observe(measured.first_token)
            if (later := (measured.usage or {}).get("completion_tokens", 0) - 1) > 0:
                took = measured.seconds - measured.first_token
                self._child(self._token_seconds, *labels).observe(took / later)
        if measured.retries:
            self._retries.inc(measured.retries)
        for kind in ("prompt_tokens", "completion_tokens"):
            if measured.usage and (tokens := measured.usage.get(kind)):
                self._child(self._tokens, *labels, kind).inc(tokens)

    def _overheads(self, measured: Measured) -> None:
        own = measured.overhead
        for stage, seconds in (("queue", measured.queued), ("retrieve", measured.retrieving)):
            if seconds:
                own -= seconds
                self._child(self._overhead, stage).observe(seconds)
        self._child(self._overhead, "gateway").observe(own)

    def refuse(self, code: str) -> None:
        self._refused.labels(code).inc()

    def forget(self, live: Callable[[str, str], bool]) -> None:
        """Drop the series of versions that nobody used since the last time and that no longer live.

        live: of a tenant's id and a version's label.
        """
        for labels, used in list(self._series.items()):
            if used or live(labels[0], labels[1]):
                self._series[labels] = False
                continue
            del self._series[labels]
            named = dict(zip(LABELS, labels, strict=True))
            for metric in (self._seconds, self._first_token, self._token_seconds, self._tokens):
                metric.remove_by_labels(named)
            self._child.cache_clear()

    def exposition(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)
