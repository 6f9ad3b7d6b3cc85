"""What is counted for every request, by tenant, version and arm, in Prometheus' terms. All on one event loop: where
prometheus_client takes a lock for every number and finds every number by its labels, this adds to one."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
OVERHEAD_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)

LABELS = ("tenant", "version", "arm")

Labels = tuple[str, ...]


class Tally:
    """One series of a histogram. bounds: of its buckets, ascending, each inclusive."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Series:
    """What one version answered one tenant in one arm."""

    __slots__ = ("completion_tokens", "first_token", "prompt_tokens", "seconds", "token_seconds", "used")

    def __init__(self) -> None:
        self.used = True
        """Since somebody last asked."""
        self.seconds: defaultdict[int, Tally] = defaultdict(lambda: Tally(SECONDS))
        """By the answer's status."""
        self.first_token = Tally(SECONDS)
        self.token_seconds = Tally(TOKEN_SECONDS)
        self.prompt_tokens = self.completion_tokens = 0


class Answers(Collector):
    """All series, by the values of LABELS; with OpenTelemetry's names for generative AI."""

    def __init__(self) -> None:
        self.series: defaultdict[Labels, Series] = defaultdict(Series)

    def collect(self) -> Iterator[Metric]:
        yield _histogram(
            "gen_ai_server_request_duration_seconds",
            "Whole request",
            (*LABELS, "status"),
            {
                (*labels, str(status)): tally
                for labels, each in self.series.items()
                for status, tally in each.seconds.items()
            },
        )
        yield self._of_streams(
            "gen_ai_server_time_to_first_token_seconds", "Streams only", lambda each: each.first_token
        )
        yield self._of_streams(
            "gen_ai_server_time_per_output_token_seconds",
            "Streams only: after the first token, per token",
            lambda each: each.token_seconds,
        )
        tokens = CounterMetricFamily("gen_ai_client_token_usage", "Tokens", labels=(*LABELS, "kind"))
        for labels, each in self.series.items():
            for kind in ("prompt_tokens", "completion_tokens"):
                if count := getattr(each, kind):
                    tokens.add_metric((*labels, kind), count)
        yield tokens

    def _of_streams(self, name: str, about: str, of: Callable[[Series], Tally]) -> Metric:
        found = {labels: tally for labels, each in self.series.items() if any((tally := of(each)).counts)}
        return _histogram(name, about, LABELS, found)


class Overheads(Collector):
    """Time that requests did not spend in the engine, by stage."""

    def __init__(self) -> None:
        self.stages: defaultdict[str, Tally] = defaultdict(lambda: Tally(OVERHEAD_SECONDS))

    def collect(self) -> Iterator[Metric]:
        about = "What a request does not spend in the engine, by stage; waiting and retrieving where it came to that"
        stages: Mapping[Labels, Tally] = {(stage,): tally for stage, tally in self.stages.items()}
        yield _histogram("graft_overhead_seconds", about, ("stage",), stages)


def _histogram(
    name: str, about: str, labels: Sequence[str], tallies: Mapping[Labels, Tally]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, about, labels=labels)
    for values, tally in tallies.items():
        bounds = [*map(floatToGoString, tally.bounds), "+Inf"]
        family.add_metric(values, list(zip(bounds, accumulate(tally.counts), strict=True)), tally.total)
    return family
