from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.registry import Registry
from tests.unit.training.conftest import DRAFT
from training.feedback import FeedbackStore
from training.record import read_counters
from training.runs import RunStore
from training.types import RunStatus


async def post(database: AsyncEngine, *answers: str) -> None:
    for answer in answers:
        question = [{"role": "user", "content": f"Question about {answer}?"}]
        await FeedbackStore(database).record(replace(DRAFT, messages=question, correction=answer))


async def finish(database: AsyncEngine, status: RunStatus) -> None:
    store = RunStore(database)
    run = await store.create("ten_1", "default", "count")
    await store.claim("learner")
    await store.finish(run.id, "learner", status)


async def test_corrections_wait_per_adapter(database: AsyncEngine) -> None:
    await post(database, "one", "two")
    (counters,) = await read_counters(database, "sha256:base")
    assert (counters.tenant_id, counters.accepted, counters.busy) == ("ten_1", 2, False)


async def test_ratings_and_quarantined_corrections_do_not_count(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    await store.record(replace(DRAFT, correction=None, rating=1))
    await store.record(replace(DRAFT, correction="password: hunter2hunter2"))
    assert await read_counters(database, "sha256:base") == []


async def test_a_run_takes_up_what_was_there(database: AsyncEngine) -> None:
    await post(database, "one", "two")
    await finish(database, RunStatus.SUCCEEDED)
    assert await read_counters(database, "sha256:base") == []
    await post(database, "three")
    (counters,) = await read_counters(database, "sha256:base")
    assert counters.accepted == 1 and counters.last_run_at is not None


async def test_a_failed_run_leaves_its_corrections_waiting(database: AsyncEngine) -> None:
    await post(database, "one")
    await finish(database, RunStatus.FAILED)
    (counters,) = await read_counters(database, "sha256:base")
    assert (counters.accepted, counters.last_run_failed) == (1, True)


async def test_a_queued_run_makes_its_adapter_busy(database: AsyncEngine) -> None:
    await post(database, "one")
    await RunStore(database).create("ten_1", "default", "manual")
    await post(database, "two")
    (counters,) = await read_counters(database, "sha256:base")
    assert counters.busy


async def test_corrections_of_another_base_models_adapter_fire_nothing_here(database: AsyncEngine) -> None:
    await Registry(database).ensure_adapter("ten_1", "default", "sha256:large")
    await post(database, "one")
    assert await read_counters(database, "sha256:base") == []
    assert len(await read_counters(database, "sha256:large")) == 1


async def test_what_a_person_accepts_after_a_run_has_started_counts_for_the_next(
    database: AsyncEngine,
) -> None:
    store = FeedbackStore(database)
    waiting = (await store.record(replace(DRAFT, correction="Ask anna.keller@webpost.example"))).feedback
    await finish(database, RunStatus.SUCCEEDED)
    reviewed = await store.review("ten_1", waiting.id, "ada", accept=True)
    (counters,) = await read_counters(database, "sha256:base")
    assert counters.accepted == 1
    assert counters.latest_at is not None and counters.latest_at > waiting.created_at
    assert await store.accepted("ten_1", "default") == [reviewed.feedback]
    await finish(database, RunStatus.SUCCEEDED)
    assert await read_counters(database, "sha256:base") == []
