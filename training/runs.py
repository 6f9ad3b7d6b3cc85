"""Runs as rows: created by a trigger or a person, claimed by one learner under a lease, told as events.

Every change of status names the status it starts from, in the statement, so that two processes cannot both
win.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import audit
from adapters.acts import actor_of
from adapters.statuses import approve, set_status
from adapters.types import VersionStatus
from training.errors import LeaseLost, RunConflict, RunNotFound
from training.outbox import owe_notice
from training.rows import insert_absent, new_id, now, of_another_base
from training.run_rows import (
    abandoned,
    act,
    add_event,
    claimed,
    free,
    in_status,
    judged,
    listed,
    new_row,
    owned,
    require_run,
    require_sources,
    to_listed,
    to_run,
)
from training.tables import learned, run_events
from training.tables import runs as table
from training.types import Run, RunEvent, RunPhase, RunStatus

ACTIVE = (RunStatus.QUEUED, RunStatus.RUNNING)
OPEN = (*ACTIVE, RunStatus.AWAITING_APPROVAL)
"""Statuses that a run can still leave."""
TRIGGERS = "system:triggers"
GATE_PASSED = "the gate passed"
_CHANGEABLE = frozenset({"phase", "progress", "report", "costs", "dataset_digest", "version_id", "recipe"})


class RunStore:
    """Runs, their events and what versions learned, in SQL."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create(
        self,
        tenant_id: str,
        adapter: str,
        trigger: str,
        recipe: Mapping[str, Any] | None = None,
        actor: str = TRIGGERS,
    ) -> Run:
        """Queue a run. Raises RunConflict when the adapter has one that is queued or running, UnknownVersion and
        ArtifactMissing for a version that it would merge and is not there, or was pruned."""
        run_id = new_id("run")
        values = new_row(run_id, tenant_id, adapter, trigger, recipe or {})
        try:
            async with self._engine.begin() as connection:
                await connection.execute(sa.insert(table).values(**values))
                # After the insert: the change log's lock comes after the row's, as in `finish`.
                await require_sources(connection, tenant_id, recipe or {})
                await add_event(connection, run_id, "queued", {"trigger": trigger})
                run = await require_run(connection, run_id)
                await audit.record(
                    connection, act(run, "created", actor, trigger=trigger, recipe=recipe or {})
                )
                return run
        except IntegrityError as error:
            raise RunConflict(f"{adapter} already has a run that is queued or running") from error

    async def get(self, run_id: str, tenant_id: str | None = None) -> Run:
        """Raises RunNotFound, also for a run of another tenant than the one given."""
        async with self._engine.connect() as connection:
            run = await require_run(connection, run_id)
        if tenant_id not in (None, run.tenant_id):
            raise RunNotFound(run_id)
        return run

    async def list(
        self,
        *,
        tenant_id: str | None = None,
        adapter: str | None = None,
        statuses: Iterable[RunStatus] | None = None,
        after: str | None = None,
        limit: int = 20,
    ) -> Sequence[Run]:
        """One page, newest first, of each report what `run_rows.DECIDED` names. `after` is the last id of the page
        before."""
        query = listed().order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit)
        if tenant_id is not None:
            query = query.where(table.c.tenant_id == tenant_id)
        if adapter is not None:
            query = query.where(table.c.adapter == adapter)
        if statuses is not None:
            query = query.where(table.c.status.in_([status.value for status in statuses]))
        if after is not None:
            there = sa.select(table.c.created_at, table.c.id).where(table.c.id == after).scalar_subquery()
            query = query.where(sa.tuple_(table.c.created_at, table.c.id) < there)
        async with self._engine.connect() as connection:
            return [to_listed(row) for row in (await connection.execute(query)).mappings()]

    async def claim(
        self, owner: str, lease_s: float = 30.0, base_digest: str | None = None, **noted: Any
    ) -> Run | None:
        """Take a run that waits, or one whose learner stopped renewing its lease; None when there is nothing to do.
        Tenants take turns: the one whose last start is longest ago is next, with its oldest run.

        base_digest: of the base model that the learner holds; runs of another one's adapters are left alone.
        noted: goes into the event, for whoever finds the run abandoned.
        """
        for run_id in await self._claimable(base_digest):
            async with self._engine.begin() as connection:
                taken = await connection.execute(
                    sa.update(table)
                    .where(table.c.id == run_id, free())
                    .values(
                        status=RunStatus.RUNNING.value,
                        owner=owner,
                        lease_until=now() + timedelta(seconds=lease_s),
                        started_at=now(),
                        updated_at=now(),
                        error=None,
                        not_before=None,
                        attempts=table.c.attempts + sa.case((abandoned(), 1), else_=0),
                    )
                )
                if taken.rowcount:
                    await add_event(connection, run_id, "claimed", {"owner": owner, **noted})
                    return await require_run(connection, run_id)
        return None

    async def _claimable(self, base_digest: str | None) -> Sequence[str]:
        turns = table.alias()
        latest = (
            sa.select(sa.func.max(turns.c.started_at))
            .where(turns.c.tenant_id == table.c.tenant_id)
            .correlate(table)
            .scalar_subquery()
        )
        order = latest.asc().nulls_first(), table.c.created_at
        query = sa.select(table.c.id).where(free()).order_by(*order).limit(8)
        if base_digest is not None:
            query = query.where(~of_another_base(table, base_digest))
        async with self._engine.connect() as connection:
            return (await connection.execute(query)).scalars().all()

    async def abandoned(self) -> Sequence[tuple[Run, str, Mapping[str, Any]]]:
        """Runs whose learner stopped renewing its lease, with that learner and what it noted when it took them up."""
        query = sa.select(table).where(abandoned())
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).mappings().all()
            return [(to_run(row), row["owner"], await claimed(connection, row["id"])) for row in rows]

    async def renew(self, run_id: str, owner: str, lease_s: float = 30.0) -> bool:
        """Keep the lease; returns whether the run was cancelled. Raises LeaseLost."""
        async with self._engine.begin() as connection:
            kept = await connection.execute(
                owned(run_id, owner).values(lease_until=now() + timedelta(seconds=lease_s))
            )
            if kept.rowcount:
                return False
            if (await require_run(connection, run_id)).status is RunStatus.CANCELLED:
                return True
        raise LeaseLost(run_id)

    async def update(self, run_id: str, owner: str, **changes: Any) -> None:
        """Change a running run's phase, progress, report, costs, recipe, dataset_digest or version_id.

        Raises LeaseLost.
        """
        if unknown := set(changes) - _CHANGEABLE:
            raise ValueError(f"not a field that a learner changes: {sorted(unknown)}")
        async with self._engine.begin() as connection:
            kept = await connection.execute(owned(run_id, owner).values(**changes, updated_at=now()))
            if not kept.rowcount:
                raise LeaseLost(run_id)

    async def finish(
        self,
        run_id: str,
        owner: str,
        status: RunStatus,
        error: str | None = None,
        approves: str | None = None,
    ) -> None:
        """End a running run, or hand it to a person. With the run's end, and not without it, the version `approves`
        goes live. Raises LeaseLost, IllegalTransition."""
        values: dict[str, Any] = {"status": status.value, "error": error, "owner": None, "lease_until": None}
        if status is RunStatus.SUCCEEDED:
            values["phase"] = RunPhase.DONE.value
        async with self._engine.begin() as connection:
            kept = await connection.execute(owned(run_id, owner).values(**values, updated_at=now()))
            if not kept.rowcount:
                raise LeaseLost(run_id)
            if approves is not None:
                approved = VersionStatus.APPROVED
                await set_status(connection, approves, approved, actor_of(run_id), GATE_PASSED)
            await add_event(connection, run_id, status.value, {"error": error} if error else {})
            await owe_notice(connection, run_id, status, error)

    async def release(self, run_id: str, owner: str, error: str | None = None, retry_s: float = 0.0) -> None:
        """Give a running run back unfinished, so that any learner may take it up: at once, or after the fault that
        `error` names, `retry_s` seconds from now."""
        values: dict[str, Any] = {"status": RunStatus.QUEUED.value, "owner": None, "lease_until": None}
        kind, detail = "released", dict[str, Any]()
        if error:
            kind, detail = "retry", {"error": error, "retry_seconds": retry_s}
            values |= {"error": error, "not_before": now() + timedelta(seconds=retry_s)}
            values["attempts"] = table.c.attempts + 1
        async with self._engine.begin() as connection:
            released = await connection.execute(owned(run_id, owner).values(**values, updated_at=now()))
            if released.rowcount:
                await add_event(connection, run_id, kind, detail)

    async def cancel(self, run_id: str, actor: str) -> Run:
        """End a run at once, whether its learner lives or not: one that does learns of it with its next heartbeat, and
        nothing that it still does goes live. Raises RunNotFound, RunConflict."""
        cancelled = {"status": RunStatus.CANCELLED.value, "owner": None, "lease_until": None}
        async with self._engine.begin() as connection:
            ended = await connection.execute(in_status(run_id, *ACTIVE).values(**cancelled, updated_at=now()))
            run = await require_run(connection, run_id)
            if not ended.rowcount:
                raise RunConflict(f"a run that is {run.status} cannot be cancelled")
            await add_event(connection, run_id, RunStatus.CANCELLED.value, {"actor": actor})
            await audit.record(connection, act(run, "cancelled", actor))
            return run

    async def approve(self, run_id: str, actor: str, *, hold: bool = False) -> Run:
        """A person lets the run's version go live; hold: as `adapters.statuses.approve`. Raises RunNotFound,
        RunConflict, IllegalTransition."""
        async with self._engine.begin() as connection:
            run = await judged(connection, run_id, RunStatus.SUCCEEDED, actor, phase=RunPhase.DONE.value)
            if run.version_id:
                await approve(connection, run.version_id, actor, hold=hold)
            await audit.record(connection, act(run, "approved", actor, reason=""))
            return run

    async def reject(self, run_id: str, actor: str, reason: str = "") -> Run:
        """A person turns the run's version down. Raises RunNotFound, RunConflict, IllegalTransition."""
        async with self._engine.begin() as connection:
            run = await judged(connection, run_id, RunStatus.REJECTED, actor, error=reason or None)
            if run.version_id:
                await set_status(connection, run.version_id, VersionStatus.REJECTED, actor, reason)
            await audit.record(connection, act(run, "rejected", actor, reason=reason))
            return run

    async def event(self, run_id: str, kind: str, data: Mapping[str, Any] | None = None) -> None:
        """Add a line to the run's story."""
        async with self._engine.begin() as connection:
            await add_event(connection, run_id, kind, data or {})

    async def events(self, run_id: str, *, after: int = 0, limit: int = 500) -> Sequence[RunEvent]:
        """The run's story from behind event `after`, oldest first."""
        query = (
            sa.select(run_events)
            .where(run_events.c.run_id == run_id, run_events.c.id > after)
            .order_by(run_events.c.id)
            .limit(limit)
        )
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [RunEvent(r["id"], r["run_id"], r["kind"], r["data"], r["at"]) for r in rows]

    async def gate(self, run_id: str | None) -> Mapping[str, Any] | None:
        """What a run's gate decided, `verdict` and `checks`, and against which version (`production`; null for the base
        model), without its cases; None before that, and without a run."""
        async with self._engine.connect() as connection:
            report = await connection.scalar(sa.select(table.c.report).where(table.c.id == run_id))
        return {name: report.get(name) for name in ("verdict", "checks", "production")} if report else None

    async def learned(self, version_ids: Iterable[str]) -> Mapping[str, frozenset[str]]:
        """The corrections each version answers without memory; a version that learned none has an empty
        set."""
        found: dict[str, set[str]] = {version_id: set() for version_id in version_ids}
        query = sa.select(learned).where(learned.c.version_id.in_(list(found)))
        async with self._engine.connect() as connection:
            for row in (await connection.execute(query)).mappings():
                found[row["version_id"]].add(row["correction_id"])
        return {version_id: frozenset(corrections) for version_id, corrections in found.items()}

    async def add_learned(self, version_id: str, correction_ids: Iterable[str]) -> None:
        """Record what the gate saw a version answer; recording it twice is harmless."""
        rows = [{"version_id": version_id, "correction_id": correction} for correction in correction_ids]
        async with self._engine.begin() as connection:
            await insert_absent(connection, learned, rows)
