"""What a worker serves between a hint and the record, which has the last word."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest
import sqlalchemy as sa
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.registry import Registry
from adapters.types import Alias, AliasMove, Lineage, VersionStatus
from gateway.follower import Follower
from gateway.hints import Hint
from gateway.keys import ALL_SCOPES
from gateway.loader import SnapshotLoader
from gateway.snapshot import CurrentSnapshot
from gateway.tenants import TenantStore
from tests.waiting import until

WITHIN_S = 1.0
"""A revoked key is refused by every worker."""


@dataclass
class Reports:
    """In a heartbeat's place."""

    positions: list[int] = field(default_factory=list)

    def applied(self, change: int) -> None:
        self.positions.append(change)


@dataclass
class Worker:
    """One without a Redis: what it hears, and when it reads the record, is the test's."""

    sql: AsyncEngine
    acme: str
    globex: str
    versions: dict[str, list[str]]
    """Of each tenant's default adapter, oldest first."""
    follower: Follower
    current: CurrentSnapshot
    reports: Reports

    async def move(self, tenant_id: str, version_id: str | None) -> AliasMove:
        return await Registry(self.sql).move_alias(tenant_id, "default", Alias.STABLE, version_id, "test")

    def hear(self, move: AliasMove) -> None:
        self.follower.foresee(Hint.of(move).encoded())

    def served(self, tenant_id: str) -> str | None:
        return self.current.value.tenants[tenant_id].adapters["default"].aliases.get(Alias.STABLE)


@pytest.fixture
async def worker(database: AsyncEngine) -> AsyncIterator[Worker]:
    """Up to date, of two tenants with three approved versions each."""
    registry, store, versions = Registry(database), TenantStore(database), {}
    for name in ("acme", "globex"):
        made, _, _ = await store.upsert(name, name, "test")
        await store.create_key(made.id, "k", sorted(ALL_SCOPES), "test")
        await registry.ensure_adapter(made.id, "default", "sha256:base")
        versions[made.id] = []
        for number in range(3):
            found = await registry.register(
                made.id, "default", f"sha256:{number}", Lineage("sha256:base"), {}
            )
            await registry.set_status(found.id, VersionStatus.APPROVED)
            versions[made.id].append(found.id)
    current, reports = CurrentSnapshot(), Reports()
    follower = Follower(SnapshotLoader(database, "salt"), None, current, reports)
    await follower.catch_up()
    acme, globex = versions
    yield Worker(database, acme, globex, versions, follower, current, reports)


async def test_a_hinted_move_is_served_at_once_and_reported_once_the_record_was_read(worker: Worker) -> None:
    before = worker.current.value
    first, *_ = worker.versions[worker.acme]
    move = await worker.move(worker.acme, first)
    worker.hear(move)
    hinted = worker.current.value
    assert (worker.served(worker.acme), hinted.position) == (first, before.position)
    assert worker.reports.positions == [before.position]
    await worker.follower.catch_up()
    assert (worker.served(worker.acme), worker.current.value.position) == (first, move.change)
    assert worker.reports.positions == [before.position, move.change]


async def test_a_hint_replaces_one_tenants_view_and_leaves_the_snapshot_whole(worker: Worker) -> None:
    before = worker.current.value
    worker.hear(await worker.move(worker.acme, worker.versions[worker.acme][0]))
    after = worker.current.value
    assert after.tenant_named("acme") is after.tenants[worker.acme] is not before.tenants[worker.acme]
    assert after.tenants[worker.globex] is before.tenants[worker.globex]
    assert after.keys == before.keys and len(after.keys) == 2
    assert before.tenants[worker.acme].adapters["default"].aliases.get(Alias.STABLE) is None


async def test_of_two_swaps_in_a_row_the_second_stays_whatever_comes_late(worker: Worker) -> None:
    first, second, _ = worker.versions[worker.acme]
    moves = [await worker.move(worker.acme, first), await worker.move(worker.acme, second)]
    for move in reversed(moves):
        worker.hear(move)
    assert worker.served(worker.acme) == second
    await worker.follower.catch_up()
    for move in moves:
        worker.hear(move)
    assert worker.served(worker.acme) == second


async def test_a_hint_that_is_lost_costs_nothing_once_the_record_is_read(worker: Worker) -> None:
    first, second, _ = worker.versions[worker.acme]
    await worker.move(worker.acme, first)
    worker.hear(await worker.move(worker.acme, second))
    assert worker.served(worker.acme) == second
    third = await worker.move(worker.globex, worker.versions[worker.globex][2])
    await worker.follower.catch_up()
    assert (worker.served(worker.acme), worker.served(worker.globex)) == (second, third.version_id)


async def test_the_way_back_to_the_base_model_is_hinted_too(worker: Worker) -> None:
    worker.hear(await worker.move(worker.acme, worker.versions[worker.acme][0]))
    worker.hear(await worker.move(worker.acme, None))
    assert worker.served(worker.acme) is None


async def test_what_the_record_does_not_say_lasts_until_it_is_read(worker: Worker) -> None:
    first, second, third = worker.versions[worker.acme]
    true = await worker.move(worker.acme, first)
    worker.hear(replace(true, version_id=third, change=true.change + 1000))
    await worker.follower.catch_up()
    assert worker.served(worker.acme) == first
    worker.hear(await worker.move(worker.acme, second))
    assert worker.served(worker.acme) == second
    worker.hear(replace(true, version_id=third, change=true.change + 1000))
    await worker.follower.catch_up()
    assert worker.served(worker.acme) == second


async def test_a_move_to_what_the_worker_does_not_know_waits_for_the_record(worker: Worker) -> None:
    registry = Registry(worker.sql)
    made = await registry.register(worker.acme, "default", "sha256:new", Lineage("sha256:base"), {})
    await registry.set_status(made.id, VersionStatus.APPROVED)
    move = await worker.move(worker.acme, made.id)
    before = worker.current.value
    theirs = worker.versions[worker.globex][0]
    unknown = {"version_id": theirs}, {"tenant_id": "ten_nobody"}, {"adapter": "nothing"}
    for wrong in ({}, *unknown):
        worker.hear(replace(move, **wrong))
        assert worker.current.value is before
    await worker.follower.catch_up()
    assert worker.served(worker.acme) == made.id


@pytest.mark.parametrize(
    "event", [b"12", "12", b"", b"\xff", b"{}", b"[1]", b'{"change":99,"alias":"stable"}']
)
async def test_an_event_without_a_move_changes_nothing_by_itself(worker: Worker, event: bytes) -> None:
    before = worker.current.value
    worker.follower.foresee(event)
    assert worker.current.value is before


async def test_a_redis_that_takes_connections_and_says_nothing_delays_no_revocation(
    database: AsyncEngine,
) -> None:
    """Each but the first comes when the record has just been asked, the longest wait; of these the better one counts,
    for the machine may have stood still in the other."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    store, current = TenantStore(database), CurrentSnapshot()
    keys = [(await store.create_key(None, "k", sorted(ALL_SCOPES), "test")).key for _ in range(3)]
    took = []
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        redis = Redis(port=server.sockets[0].getsockname()[1])
        follower = Follower(SnapshotLoader(database, "salt"), redis, current, Reports())
        await follower.start()
        for left, key in zip((2, 1, 0), keys, strict=True):
            assert key.public_id in current.value.keys
            await store.revoke_key(None, key.id, "test")
            revoked = time.monotonic()
            await until(lambda left=left: len(current.value.keys) == left)
            took.append(time.monotonic() - revoked)
        await follower.close()
        await redis.aclose()
    assert min(took[1:]) <= WITHIN_S, took


async def test_while_the_record_cannot_be_read_hints_go_on(worker: Worker) -> None:
    first, second, _ = worker.versions[worker.acme]
    moves = [await worker.move(worker.acme, first), await worker.move(worker.acme, second)]
    async with worker.sql.begin() as connection:
        await connection.execute(sa.text("ALTER TABLE changes RENAME TO away"))
    for move in moves:
        worker.hear(move)
        await worker.follower.catch_up()
        assert worker.served(worker.acme) == move.version_id
    assert len(worker.reports.positions) == 1
    async with worker.sql.begin() as connection:
        await connection.execute(sa.text("ALTER TABLE away RENAME TO changes"))
    await worker.follower.catch_up()
    assert (worker.served(worker.acme), worker.reports.positions[-1]) == (second, moves[1].change)
