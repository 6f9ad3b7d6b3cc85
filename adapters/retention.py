"""Which versions' files may go, and letting them go. The rows stay: they are lineage.

Two steps, far apart: a version is marked as pruned, so that no route leads to it any more; its files are deleted once
no engine holds it and nobody asks for it. A crash between the two leaves files, which the next pass deletes.
"""

import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters import acts, audit, tables
from adapters.records import hold_files, of, stable_moves, to_version
from adapters.rollout_records import versions_in_use
from adapters.rules import stable_line
from adapters.types import Version, VersionStatus

ENDED = frozenset({VersionStatus.RETIRED, VersionStatus.ROLLED_BACK, VersionStatus.REJECTED})
ROLLBACKS = 3
"""Steps back along the line of stable versions that stay possible."""
GRACE = timedelta(seconds=60)
"""Between a version's mark and the end of its files: longer than any worker serves an old record."""
SWEPT_AT_ONCE = 20
"""Artifacts of one pass, each of which writes to the record while its files are deleted."""


@dataclass(frozen=True)
class Keep:
    """What a tenant wants kept."""

    newest: int
    """Of each adapter's versions, whatever became of them."""
    days: float
    """Younger versions are kept."""


@dataclass(frozen=True)
class Judged:
    """A version, and why it is kept; None: it may go."""

    version: Version
    kept_for: str | None


def judge(
    versions: Sequence[Version],
    keep: Keep,
    now: datetime,
    needed: Mapping[str, str],
) -> Sequence[Judged]:
    """One adapter's versions, newest first. needed: version id to the reason for which somebody needs it."""
    ordered = sorted(versions, key=lambda version: version.number, reverse=True)
    found = []
    for place, version in enumerate(ordered):
        if version.pruned_at is not None:
            continue
        reason = needed.get(version.id)
        if reason is None and version.status not in ENDED:
            reason = f"it is {version.status.value}"
        if reason is None and place < keep.newest:
            reason = f"it is one of the newest {keep.newest}"
        if reason is None and version.created_at > now - timedelta(days=keep.days):
            reason = f"it is younger than {keep.days:g} days"
        found.append(Judged(version, reason))
    return found


class Retention:
    """Over the registry's tables."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def counts(self, tenant_id: str) -> Mapping[str, Mapping[str, int]]:
        """By adapter: how many versions have each status, and how many are `pruned`."""
        table = tables.versions
        gone = table.c.pruned_at.is_not(None).label("gone")
        group = (table.c.adapter, table.c.status, gone)
        query = sa.select(*group, sa.func.count().label("size")).where(table.c.tenant_id == tenant_id)
        found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        async with self._engine.connect() as connection:
            for row in (await connection.execute(query.group_by(*group))).all():
                found[row.adapter]["pruned" if row.gone else row.status] += row.size
        return {adapter: dict(by_status) for adapter, by_status in found.items()}

    async def grown(self, after: tuple[str, str], limit: int) -> Sequence[tuple[str, str]]:
        """Adapters (tenant id, name) that have a version which may be old enough, in order, after that one."""
        table = tables.versions
        place = sa.tuple_(table.c.tenant_id, table.c.adapter)
        beyond = place > sa.tuple_(*(sa.literal(name) for name in after))
        statuses = [status.value for status in ENDED]
        query = sa.select(table.c.tenant_id, table.c.adapter).distinct()
        query = query.where(table.c.status.in_(statuses), table.c.pruned_at.is_(None), beyond)
        query = query.order_by(table.c.tenant_id, table.c.adapter).limit(limit)
        async with self._engine.connect() as connection:
            return [(row.tenant_id, row.adapter) for row in (await connection.execute(query)).all()]

    async def judged(
        self, tenant_id: str, adapter: str, keep: Keep, busy: Mapping[str, str]
    ) -> Sequence[Judged]:
        """An adapter's versions that have files, newest first. busy: further version ids that are needed, and why."""
        async with self._engine.connect() as connection:
            return await _judged(connection, tenant_id, adapter, keep, busy)

    async def leftovers(self, held: Collection[str]) -> Sequence[str]:
        """Some artifacts of versions that were pruned a while ago, that no engine holds and no other version shares;
        any of them, so that those that cannot be deleted keep no others."""
        digest = tables.versions.c.artifact_digest
        query = sa.select(digest).where(_unused(held)).group_by(digest)
        query = query.order_by(sa.func.random()).limit(SWEPT_AT_ONCE)
        async with self._engine.connect() as connection:
            return (await connection.execute(query)).scalars().all()

    @contextlib.asynccontextmanager
    async def sweeping(self, digest: str, held: Collection[str]) -> AsyncIterator[bool]:
        """Whether an artifact is still one of the leftovers. If so, nobody registers a version of it inside the block,
        in which its files are to be deleted; a block that fails leaves it one."""
        table = tables.versions
        swept = sa.update(table).where(table.c.artifact_digest == digest, _unused(held))
        async with self._engine.begin() as connection:
            await hold_files(connection, digest)
            yield (await connection.execute(swept.values(swept_at=datetime.now(UTC)))).rowcount > 0


def _unused(held: Collection[str]) -> sa.ColumnElement[bool]:
    """A version whose files nobody has deleted, and that nothing needs any more: it, and all that share its artifact,
    were pruned a while ago and are not held."""
    table, other = tables.versions, tables.versions.alias()
    young = sa.or_(other.c.pruned_at.is_(None), other.c.pruned_at >= datetime.now(UTC) - GRACE)
    needed = sa.exists().where(
        other.c.artifact_digest == table.c.artifact_digest, sa.or_(young, other.c.id.in_(held))
    )
    return sa.and_(table.c.pruned_at.is_not(None), table.c.swept_at.is_(None), ~needed)


async def mark(
    connection: AsyncConnection, tenant_id: str, adapter: str, keep: Keep, busy: Mapping[str, str], actor: str
) -> Sequence[Version]:
    """Mark what may go, and say so in the audit log, in the transaction of a change of the caller's: its lock keeps
    apart whoever comes to need a version meanwhile. Returns it."""
    table = tables.versions
    judged = await _judged(connection, tenant_id, adapter, keep, busy)
    going = [each.version for each in judged if each.kept_for is None]
    marked = sa.update(table).where(table.c.id.in_([version.id for version in going]))
    await connection.execute(marked.values(pruned_at=datetime.now(UTC)))
    for version in going:
        await audit.record(connection, acts.of_version(version, "pruned", actor))
    return going


async def last_trained_on(connection: AsyncConnection, pruned: Sequence[Version]) -> Sequence[str]:
    """Digests of their datasets that no version with files was trained on."""
    table = tables.versions
    digests = {version.lineage.dataset_digest for version in pruned if version.lineage.dataset_digest}
    used = sa.select(table.c.dataset_digest).where(
        table.c.dataset_digest.in_(digests), table.c.pruned_at.is_(None)
    )
    return sorted(digests - set((await connection.execute(used)).scalars()))


async def _judged(
    connection: AsyncConnection, tenant_id: str, adapter: str, keep: Keep, busy: Mapping[str, str]
) -> Sequence[Judged]:
    table = tables.versions
    rows = (await connection.execute(sa.select(table).where(*of(table, tenant_id, adapter)))).all()
    versions = [to_version(row) for row in rows]
    needed = {**busy, **await _needed(connection, tenant_id, adapter)}
    return judge(versions, keep, datetime.now(UTC), needed)


async def _needed(connection: AsyncConnection, tenant_id: str, adapter: str) -> Mapping[str, str]:
    """What the record itself needs: rollbacks, pins, aliases, versions that continue one or were merged from it, also
    those of other adapters."""
    aliases, pins, versions = tables.aliases, tables.pins, tables.versions
    line = stable_line(await stable_moves(connection, tenant_id, adapter))
    needed = dict.fromkeys([name for name in line[-1 - ROLLBACKS :] if name], "a rollback may go to it")
    mine = sa.select(versions.c.id).where(*of(versions, tenant_id, adapter))
    child = versions.alias()
    children = sa.select(child.c.parent_id).where(child.c.parent_id.in_(mine), child.c.pruned_at.is_(None))
    needed |= dict.fromkeys((await connection.execute(children)).scalars(), "a version continues it")
    needed |= dict.fromkeys(await _merged(connection, tenant_id), "a merge was made from it")
    pinned = sa.select(pins.c.version_id).where(pins.c.version_id.in_(mine))
    needed |= dict.fromkeys((await connection.execute(pinned)).scalars(), "it is pinned")
    compared = mine.where(versions.c.id.in_(versions_in_use()))
    needed |= dict.fromkeys((await connection.execute(compared)).scalars(), "a rollout compares it")
    pointed = sa.select(aliases.c.version_id).where(aliases.c.version_id.in_(mine))
    return needed | dict.fromkeys((await connection.execute(pointed)).scalars(), "an alias points to it")


async def _merged(connection: AsyncConnection, tenant_id: str) -> set[str]:
    """Ids of the versions that a tenant's merges with files were made from, of all its adapters. What an imported
    version's file says of itself does not count."""
    versions = tables.versions.c
    mine = sa.and_(
        versions.tenant_id == tenant_id, versions.pruned_at.is_(None), versions.run_id.is_not(None)
    )
    query = sa.select(versions.recipe).where(mine, versions.recipe["merge"].as_string().is_not(None))
    merges = (await connection.execute(query)).scalars()
    return {source["version_id"] for each in merges for source in each["merge"]["sources"]}
