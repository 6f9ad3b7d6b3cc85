"""Whether a second worker adds throughput. There is one core for both, so this is reckoned by processor time: what a
request takes of it with two workers beside what it takes with one. At half of a core each, what a worker does every
second anyway counts double: on two cores they do better."""

import asyncio
import statistics
from collections.abc import Sequence

from tests.bench.house import House
from tests.bench.load import Seen, closed_loop
from tests.bench.measure import CONNECTIONS, Subject, go
from tests.bench.processes import Running, free_port
from tests.bench.report import Figure

ROUNDS = 3
LEAST = 1.3
"""Times what one does; without a gain it would be 1."""


def two_workers_figures(made: House, seconds: float) -> list[Figure]:
    """Windows with one and with two in turn, so that a machine that slows down slows both."""
    with made.worker() as first, made.worker(port=free_port()) as second:
        for process in (first, second):
            _window(made, [process], min(2.0, seconds))
        pairs = [
            (_window(made, [first], seconds), _window(made, [first, second], seconds)) for _ in range(ROUNDS)
        ]
    ratio = statistics.median(two / one for one, two in pairs)
    return [
        Figure("requests/s of 2 workers over 1, by processor time", 2 / ratio, target=LEAST, at_most=False)
    ]


def _window(made: House, workers: Sequence[Running], seconds: float) -> float:
    """Seconds of processor time for each request."""
    before = sum(each.cpu_s() for each in workers)
    seen = go(_all(made, workers, seconds))
    spent = sum(each.cpu_s() for each in workers) - before
    return spent / max(1, sum(len(each.latencies) for each in seen))


async def _all(made: House, workers: Sequence[Running], seconds: float) -> list[Seen]:
    loads = [
        closed_loop(each.port, Subject("graft", each, made.keys).requests(), CONNECTIONS, seconds)
        for each in workers
    ]
    return await asyncio.gather(*loads)
