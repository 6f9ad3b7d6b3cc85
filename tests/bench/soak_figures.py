"""What a soak may leave behind, derived from what was asked of it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.process_files import LOG_BYTES
from tests.bench.report import Figure
from tests.bench.soak_bounds import Held

OPEN_FILES = 1024
TEMPORARY_FILES = 20
"""Of one process, beyond those at the start."""
RUN_STORY = 16
"""Events of a run beside its progress: its phases, what each came to, how it ended."""
ATTEMPTS = 2.0
"""Of a run, on average: now and then its learner is killed."""
PER_ACT = 10.0
"""Rows that one swap, run or kill may write on average: a version loaded, unloaded, moved to, pruned; after a kill of
the engine all that it held."""
COPIES = 1.5
"""Files of a version are fetched before it is loaded and go after it was pruned."""
REDIS_KINDS = {"slots": 2, "worker": 4, "learner": 2}
"""Keys at most, by kind: each replica's slots held and waited for, workers alive or dead a moment ago, learners."""
LIMITS = 10
"""Of a tenant and its key: requests, tokens, places, and two days' tokens."""
REDIS_SINGLE = 12
"""Keys of which there is one each: the stream, the lease, names of workers, residency…"""
CONSUMERS = 4


@dataclass(frozen=True)
class Asked:
    """requests, corrections, swaps and kills (by process): what was done to the system; runs: by how they ended."""

    tenants: int
    requests: int
    corrections: Sequence[int]
    """Acknowledged, by tenant."""
    learn_from: int
    """Corrections that start a run."""
    steps: int
    """Of a run's training, at most."""
    kept: int
    """Versions of a tenant that its retention keeps."""
    runs: Mapping[str, int]
    swaps: int
    kills: Mapping[str, int]
    slots: int
    """Versions that an engine batches at once."""
    cache_bytes: int
    """The bound of the engine's own copies."""

    @property
    def acts(self) -> int:
        return self.swaps + sum(self.runs.values()) + sum(self.kills.values()) + self.tenants


def happened(asked: Asked) -> list[Figure]:
    """That the soak tried what it is for. `kills` has a count for each kind of process, 0 too."""
    return [
        at_least("runs that succeeded", asked.runs.get("succeeded", 0), 1),
        at_least("swaps and rollbacks by hand", asked.swaps, 1),
        at_least("kills of the process that was killed least", min(asked.kills.values(), default=0), 1),
    ]


def bounds(first: Held, last: Held, most_files: int, asked: Asked) -> list[Figure]:
    """first: a look from the start; last: at rest; most_files: open at any time in one process."""
    return [
        at_most("open files of one process, most", most_files, OPEN_FILES),
        *_rows(last, asked),
        *_files(first, last, asked),
        *_redis(last, asked),
        at_most("runs under way", last.active_runs, 0),
        at_most("leases left", last.leases, 0),
        at_most("versions resident", last.resident, asked.tenants),
    ]


def _rows(last: Held, asked: Asked) -> list[Figure]:
    rows, runs = last.rows, _some(sum(asked.runs.values()))
    took_up = sum(n for status, n in asked.runs.items() if status not in ("failed", "cancelled"))
    taught = max(asked.corrections, default=0)
    per_kept = _some(last.kept_versions)
    return [
        at_most("rows owed in the outbox", rows["outbox"], 0),
        at_most("interactions, per request", rows["interactions"] / _some(asked.requests), 1.05),
        at_most(
            "corrections beyond those acknowledged", rows["feedback"] - sum(asked.corrections), asked.tenants
        ),
        at_most(f"runs, per {asked.learn_from} corrections", took_up * asked.learn_from / _some(rows["feedback"]), 1),
        at_most("rows of runs, per run", rows["runs"] / runs, 1),
        at_most("events, per run", rows["run_events"] / runs, ATTEMPTS * (asked.steps + RUN_STORY)),
        at_most("datasets, per run", rows["datasets"] / runs, 1),
        at_most("corrections named by a dataset", rows["dataset_corrections"] / _some(rows["datasets"]), taught),
        at_most("memory entries, per correction", rows["memory_entries"] / _some(rows["feedback"]), 1),
        at_most("versions, per run", rows["versions"] / runs, 1),
        at_most("versions kept", last.kept_versions, asked.tenants * (asked.kept * 2 + 1)),
        at_most("learned, per version kept", rows["learned"] / per_kept, taught),
        at_most("audit, per swap, run and kill", rows["audit"] / _some(asked.acts), PER_ACT),
        at_most("changes, per swap, run and kill", rows["changes"] / _some(asked.acts), PER_ACT),
        at_most("moves of aliases, per swap, run and kill", rows["alias_history"] / _some(asked.acts), PER_ACT),
        *(at_most(f"{name}: nobody asked for one", rows[name], 0) for name in ("responses", "writes", "webhook_calls")),
    ]  # fmt: skip


def _files(first: Held, last: Held, asked: Asked) -> list[Figure]:
    kept, versions, processes = _some(last.kept_versions), _some(last.rows["versions"]), len(asked.kills)
    return [
        at_most("artifacts, per version kept", last.artifacts / kept, COPIES),
        at_most("local copies, per version kept", last.local_copies / kept, COPIES),
        at_most("engine's copies, per version", last.engine_copies / versions, 1),
        at_most("engine's names, per version", last.engine_names / versions, 1),
        at_most("engine's copies, MB", last.engine_mb, asked.cache_bytes / 1e6),
        at_most("directories of runs left", last.run_directories, 0),
        at_most(
            "temporary files, more than at the start",
            last.temporary_files - first.temporary_files,
            TEMPORARY_FILES * processes,
        ),
        at_most("logs, MB", last.log_mb, 2 * LOG_BYTES / 1e6 * processes),
    ]


def _redis(last: Held, asked: Asked) -> list[Figure]:
    keys = dict(last.redis_keys)
    interactions = keys.pop("interaction", 0)
    limited = keys.pop("limit", 0)
    several = [
        at_most(f"keys in Redis: {kind}", keys.pop(kind, 0), most) for kind, most in REDIS_KINDS.items()
    ]
    return [
        at_most("journal stream, entries left", last.stream, 0),
        at_most("journal stream, entries unacknowledged", last.pending, 0),
        at_most("journal stream, consumers", last.consumers, CONSUMERS),
        at_most("keys in Redis: interactions, per request", interactions / _some(asked.requests), 1.05),
        at_most("keys in Redis: limits, per tenant", limited / _some(asked.tenants), LIMITS),
        *several,
        at_most("keys in Redis: all others", sum(keys.values()), REDIS_SINGLE),
        at_most("slots held", last.slots_held, asked.slots),
        at_most("slots waited for", last.slots_waited, 0),
    ]  # fmt: skip


def at_most(name: str, value: float, target: float) -> Figure:
    return Figure(name, float(value), target=float(target))


def at_least(name: str, value: float, target: float) -> Figure:
    return Figure(name, float(value), target=float(target), at_most=False)


def _some(count: int) -> int:
    return max(count, 1)
