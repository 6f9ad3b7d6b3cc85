"""Whether a worker's memory stays flat over many requests of many tenants. Takes minutes."""

from pathlib import Path

from tests.bench.house import house
from tests.bench.load import Seen, closed_loop
from tests.bench.load_silent import held_open
from tests.bench.measure import CONNECTIONS, Subject, go
from tests.bench.processes import Cores
from tests.bench.report import Figure

TENANTS = 10_000
WARM_UP = 2 * TENANTS
"""Every tenant twice, so that what is kept for each of them is there."""
REQUESTS = 200_000
AT_MOST_S = 1800.0
HELD = 500


def memory_figures(directory: Path, engine_url: str, cores: Cores) -> list[Figure]:
    """Growth of resident memory after the warm-up, and what a waiting request holds."""
    with house(directory, engine_url, TENANTS, cores) as made, made.worker() as process:
        requests = Subject("memory", process, made.keys).requests()

        def ask(count: int) -> Seen:
            seen: Seen = go(closed_loop(process.port, requests, CONNECTIONS, AT_MOST_S, count))
            return seen

        warm = ask(WARM_UP)
        before = process.rss()
        seen = ask(REQUESTS)
        after = process.rss()
        waiting = go(held_open(process.port, requests, HELD, process.rss))
    return [
        Figure("memory growth, 200,000 requests, 10,000 tenants", (after / before - 1) * 100, "%", target=5),
        Figure("memory after them", after / 2**20, "MiB"),
        Figure("memory per waiting request", (waiting - after) / HELD / 1024, "KiB"),
        Figure("wrong answers among them", warm.wrong + seen.wrong, target=0),
        Figure("answers among them", len(seen.latencies), target=REQUESTS, at_most=False),
    ]
