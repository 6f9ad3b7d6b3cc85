"""What a soak may leave behind: everything that is counted is judged."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from tests.bench.soak_bounds import TABLES, Held, kind_of, sizes
from tests.bench.soak_figures import Asked, bounds, happened

ASKED = Asked(
    tenants=5,
    requests=1000,
    corrections=(40, 40, 40, 40, 40),
    learn_from=8,
    steps=16,
    kept=3,
    runs={"succeeded": 20, "failed": 2},
    swaps=100,
    kills={"gateway": 3, "engine": 2},
    slots=4,
    cache_bytes=10**9,
)
START = Held(
    files={"gateway": 90, "engine": 200},
    rss_mb={},
    rows=dict.fromkeys(TABLES, 0),
    kept_versions=0,
    active_runs=0,
    artifacts=0,
    local_copies=0,
    engine_copies=0,
    engine_names=0,
    engine_mb=0.0,
    temporary_files=12,
    run_directories=0,
    log_mb=0.1,
    stream=0,
    pending=0,
    consumers=1,
    redis_keys={},
    slots_held=0,
    slots_waited=0,
    leases=0,
    resident=0,
)
ROWS = {
    "interactions": 1000, "feedback": 200, "runs": 22, "run_events": 700, "datasets": 20, "learned": 600,
    "versions": 20, "audit": 900, "changes": 400, "memory_entries": 190, "dataset_corrections": 600,
    "alias_history": 120,
}  # fmt: skip
REST = replace(
    START,
    rows={**START.rows, **ROWS},
    kept_versions=20,
    artifacts=20,
    local_copies=20,
    engine_copies=20,
    engine_names=5,
    engine_mb=40.0,
    temporary_files=14,
    log_mb=30.0,
    redis_keys={"interaction": 900, "slots": 2, "worker": 2, "limit": 10, "journal": 1, "learner": 1},
    slots_held=4,
    resident=5,
)


def missed(last: Held, most_files: int = 200) -> list[str]:
    return [figure.name for figure in bounds(START, last, most_files, ASKED) if not figure.met]


def test_a_system_that_keeps_its_bounds_meets_every_target() -> None:
    assert missed(REST) == []


@pytest.mark.parametrize("table", TABLES)
def test_rows_beyond_what_was_asked_are_missed_in_every_table(table: str) -> None:
    assert missed(replace(REST, rows={**REST.rows, table: 100_000}))


@pytest.mark.parametrize(
    "name", [f.name for f in fields(Held) if f.name not in ("files", "rss_mb", "rows", "redis_keys")]
)
def test_every_count_has_a_target(name: str) -> None:
    changes: dict[str, Any] = {name: 10_000_000}
    assert missed(replace(REST, **changes))


@pytest.mark.parametrize("kind", ["interaction", "slots", "worker", "limit", "learner", "forgotten"])
def test_every_kind_of_key_in_redis_has_a_target(kind: str) -> None:
    assert missed(replace(REST, redis_keys={**REST.redis_keys, kind: 100_000}))


def test_open_files_have_a_target() -> None:
    assert missed(REST, most_files=5000)


def test_a_soak_in_which_nothing_happened_is_no_proof() -> None:
    idle = replace(ASKED, runs={"failed": 3}, swaps=0, kills={"gateway": 3, "engine": 0})
    assert [figure.met for figure in happened(idle)] == [False, False, False]
    assert all(figure.met for figure in happened(ASKED))


def test_the_kind_of_a_key() -> None:
    assert kind_of("graft:slots:http://127.0.0.1:8100:held") == "slots"
    assert kind_of("graft:learner") == kind_of("graft:learner:sha256:1") == "learner"


def test_files_below_a_directory_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "one").write_bytes(b"123")
    (tmp_path / "two").write_bytes(b"")
    assert sorted(sizes(tmp_path)) == [0, 3]
