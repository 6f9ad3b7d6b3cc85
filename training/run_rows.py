"""Single reads and writes of runs, each inside a transaction that `training.runs` opened."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters import changes
from adapters.audit import Act
from adapters.errors import ArtifactMissing
from adapters.records import require_version
from training.errors import RunConflict, RunNotFound
from training.outbox import owe_notice
from training.rows import now
from training.tables import run_events
from training.tables import runs as table
from training.types import MERGE, Run, RunPhase, RunStatus

DECIDED = ("verdict", "production")
"""Of a report, what a list shows."""


def new_row(
    run_id: str, tenant_id: str, adapter: str, trigger: str, recipe: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "id": run_id,
        "tenant_id": tenant_id,
        "adapter": adapter,
        "status": RunStatus.QUEUED.value,
        "phase": RunPhase.DATASET.value,
        "trigger": trigger,
        "recipe": dict(recipe),
        "progress": {},
        "report": {},
        "costs": {},
        "created_at": now(),
        "updated_at": now(),
    }


async def require_sources(connection: AsyncConnection, tenant_id: str, recipe: Mapping[str, Any]) -> None:
    """Of a run that merges: nobody prunes them from here until the transaction ends. Raises UnknownVersion,
    ArtifactMissing."""
    if MERGE not in recipe:
        return
    await changes.append(connection, tenant_id)  # its lock keeps retention apart
    for source in recipe[MERGE]["sources"]:
        version = await require_version(connection, source["version_id"])
        if version.pruned_at is not None:
            raise ArtifactMissing(version.artifact_digest)


async def require_run(connection: AsyncConnection, run_id: str) -> Run:
    row = (await connection.execute(sa.select(table).where(table.c.id == run_id))).mappings().first()
    if row is None:
        raise RunNotFound(run_id)
    return to_run(row)


def act(run: Run, action: str, actor: str, **detail: Any) -> Act:
    return Act(actor, f"run.{action}", run.id, run.tenant_id, {"adapter": run.adapter, **detail})


def to_run(row: Mapping[Any, Any]) -> Run:
    values = {name: row[name] for name in Run.__dataclass_fields__}
    values["status"] = RunStatus(values["status"])
    values["phase"] = RunPhase(values["phase"])
    return Run(**values)


def listed() -> sa.Select[Any]:
    """Runs, of whose reports only what `to_listed` keeps is read: the cases of a page would be thousands of objects."""
    decided = (table.c.report[name].as_string().label(name) for name in DECIDED)
    return sa.select(*(column for column in table.c if column is not table.c.report), *decided)


def to_listed(row: Mapping[Any, Any]) -> Run:
    """A row of `listed`. Its report has the gate's verdict and what it compared with; it is empty before the gate."""
    report = {name: row[name] for name in DECIDED} if row["verdict"] else {}
    return to_run({**row, "report": report})


def free() -> sa.ColumnElement[bool]:
    """Waiting and due, or running under a lease that ran out."""
    due = sa.or_(table.c.not_before.is_(None), table.c.not_before <= now())
    return sa.or_(sa.and_(table.c.status == RunStatus.QUEUED.value, due), abandoned())


def abandoned() -> sa.ColumnElement[bool]:
    return sa.and_(table.c.status == RunStatus.RUNNING.value, table.c.lease_until < now())


def owned(run_id: str, owner: str) -> sa.Update:
    return sa.update(table).where(
        table.c.id == run_id, table.c.owner == owner, table.c.status == RunStatus.RUNNING.value
    )


def in_status(run_id: str, *statuses: RunStatus) -> sa.Update:
    return sa.update(table).where(table.c.id == run_id, table.c.status.in_(statuses))


async def claimed(connection: AsyncConnection, run_id: str) -> Mapping[str, Any]:
    """What the run's last learner noted when it took the run up."""
    query = sa.select(run_events.c.data).where(run_events.c.run_id == run_id, run_events.c.kind == "claimed")
    return await connection.scalar(query.order_by(run_events.c.id.desc()).limit(1)) or {}


async def add_event(connection: AsyncConnection, run_id: str, kind: str, data: Mapping[str, Any]) -> None:
    values = {"run_id": run_id, "kind": kind, "data": dict(data), "at": now()}
    await connection.execute(sa.insert(run_events).values(**values))


async def judged(
    connection: AsyncConnection, run_id: str, status: RunStatus, actor: str, **values: str | None
) -> Run:
    """The run, which waited for a person and has ended now: of two who judge at once the second is refused, before
    either the run or its version is another. Raises RunNotFound, RunConflict."""
    changed = {"status": status.value, "error": None, "updated_at": now(), **values}
    ended = await connection.execute(in_status(run_id, RunStatus.AWAITING_APPROVAL).values(**changed))
    run = await require_run(connection, run_id)
    if not ended.rowcount:
        raise RunConflict(f"a run that is {run.status} waits for nobody's approval")
    await add_event(connection, run_id, status.value, {"actor": actor, "reason": run.error})
    await owe_notice(connection, run_id, status, run.error)
    return run
