"""Limits over workers, with a clock that stands still unless told."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gateway.limits
from gateway.accounts import duration
from gateway.errors import InsufficientQuota, RateLimited
from gateway.limits import KEEP, RETELL, UNNOTICED, Limiter
from gateway.policy import Caps, Limits
from gateway.reservation import Reservation
from tests.unit.gateway.accounting import Clock, MemoryLedger, workers


async def admit(limiter: Limiter, caps: Caps, estimate: int = 1, owner: str = "ten_1") -> Reservation:
    return await limiter.admit([(owner, caps)], estimate)


async def admitted(limiters: list[Limiter], caps: Caps, tries: int, estimate: int = 1) -> int:
    """How many of so many tries at each worker, in turn, get through."""
    found = 0
    for _ in range(tries):
        for limiter in limiters:
            try:
                await admit(limiter, caps, estimate)
            except RateLimited:
                continue
            found += 1
    return found


@pytest.fixture(autouse=True, scope="module")
def _no_real_waits() -> Iterator[None]:
    with patch.object(gateway.limits, "ASK_AGAIN_S", (0.0,)):
        yield


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger(Clock())


@pytest.fixture
def limiter(ledger: MemoryLedger) -> Limiter:
    return workers(ledger, 1)[0]


async def test_a_tenant_without_limits_gets_no_limit_headers(limiter: Limiter, ledger: MemoryLedger) -> None:
    assert (await admit(limiter, Limits())).headers() == {}
    assert ledger.calls == 0


async def test_requests_beyond_the_limit_are_refused_until_one_is_forgotten(
    limiter: Limiter, ledger: MemoryLedger
) -> None:
    limits = Limits(requests_per_minute=2)
    for _ in range(2):
        (await admit(limiter, limits)).settle(1)
    with pytest.raises(RateLimited) as refused:
        await admit(limiter, limits)
    assert refused.value.retry_after_s == pytest.approx(30.0)
    assert refused.value.headers()["x-ratelimit-remaining-requests"] == "0"
    ledger.clock.now += 30.0
    await admit(limiter, limits)


async def test_a_refused_request_costs_nothing(limiter: Limiter) -> None:
    limits = Limits(requests_per_minute=5, tokens_per_minute=100)
    (await admit(limiter, limits, 90)).settle(90)
    with pytest.raises(RateLimited):
        await admit(limiter, limits, 50)
    assert (await admit(limiter, limits, 5)).headers()["x-ratelimit-remaining-requests"] == "3"


async def test_a_request_that_was_not_served_costs_nothing(limiter: Limiter) -> None:
    limits = Limits(requests_per_minute=1, tokens_per_minute=100, tokens_per_day=100, concurrency=1)
    for _ in range(3):
        (await admit(limiter, limits, 100)).release()


async def test_one_tenants_use_is_not_anothers(limiter: Limiter) -> None:
    limits = Limits(requests_per_minute=1)
    await admit(limiter, limits, owner="ten_1")
    await admit(limiter, limits, owner="ten_2")


async def test_a_keys_limit_holds_within_its_tenants(limiter: Limiter) -> None:
    tenant, key = ("ten_1", Caps(requests_per_minute=10)), ("key_1", Caps(requests_per_minute=1))
    taken = await limiter.admit([tenant, key], 1)
    assert taken.headers()["x-ratelimit-limit-requests"] == "1"
    with pytest.raises(RateLimited):
        await limiter.admit([tenant, key], 1)
    await limiter.admit([tenant, ("key_2", Caps(requests_per_minute=1))], 1)


async def test_real_usage_replaces_the_estimate(limiter: Limiter) -> None:
    taken = await admit(limiter, Limits(tokens_per_minute=100), 80)
    taken.settle(10)
    assert taken.headers()["x-ratelimit-remaining-tokens"] == "90"


async def test_usage_beyond_the_estimate_is_owed(limiter: Limiter, ledger: MemoryLedger) -> None:
    limits = Limits(tokens_per_minute=60)
    (await admit(limiter, limits, 10)).settle(90)
    with pytest.raises(RateLimited) as refused:
        await admit(limiter, limits, 10)
    assert refused.value.retry_after_s == pytest.approx(40.0)


async def test_concurrency_counts_what_runs(limiter: Limiter) -> None:
    limits = Limits(concurrency=1)
    first = await admit(limiter, limits)
    with pytest.raises(RateLimited):
        await admit(limiter, limits)
    first.release()
    await admit(limiter, limits)


async def test_a_changed_limit_keeps_what_runs(limiter: Limiter) -> None:
    running = await admit(limiter, Limits(concurrency=5))
    await limiter.synchronise()
    with pytest.raises(RateLimited):
        await admit(limiter, Limits(concurrency=1))
    running.release()
    await admit(limiter, Limits(concurrency=1))


async def test_a_used_up_day_is_not_worth_another_try(limiter: Limiter, ledger: MemoryLedger) -> None:
    limits = Limits(tokens_per_day=100)
    (await admit(limiter, limits, 60)).settle(95)
    with pytest.raises(InsufficientQuota) as refused:
        await admit(limiter, limits, 60)
    assert refused.value.headers()["x-should-retry"] == "false"
    ledger.clock.now += 86_400
    await admit(limiter, limits, 60)


async def test_a_day_held_by_what_runs_is_worth_another_try(limiter: Limiter) -> None:
    limits = Limits(tokens_per_day=100)
    await admit(limiter, limits, 60)
    with pytest.raises(RateLimited) as refused:
        await admit(limiter, limits, 60)
    assert refused.value.code == "rate_limit_exceeded"


async def test_most_requests_ask_nobody(limiter: Limiter, ledger: MemoryLedger) -> None:
    assert await admitted([limiter], Limits(requests_per_minute=6000), 700) == 700
    assert ledger.calls == 1


async def test_what_a_crashed_worker_held_is_free_again(ledger: MemoryLedger) -> None:
    first, second = workers(ledger, 2)
    limits = Limits(concurrency=1, tokens_per_day=100)
    await admit(first, limits, 60)
    with pytest.raises(RateLimited):
        await admit(second, limits, 60)
    ledger.live.remove("w_0")
    ledger.clock.now += 1.0
    await admit(second, limits, 60)


async def test_what_is_not_used_is_given_back(ledger: MemoryLedger) -> None:
    first, second = workers(ledger, 2)
    limits = Limits(requests_per_minute=160)
    await admit(first, limits)
    assert await admitted([second], limits, 200) < 159
    ledger.clock.now += 1e-3
    for _ in range(KEEP + 1):
        await first.synchronise()
        ledger.clock.now += 0.15
    await admit(second, limits)


async def test_a_crowd_at_a_cold_worker_is_let_through(limiter: Limiter) -> None:
    assert await admitted([limiter], Limits(concurrency=20), 30) == 20


@pytest.mark.parametrize("limit", [1, 3, 40, 400])
async def test_alone_all_workers_together_keep_the_limit(ledger: MemoryLedger, limit: int) -> None:
    limiters = workers(ledger, 3)
    ledger.away = True
    assert await admitted(limiters, Limits(requests_per_minute=limit), limit) == limit
    assert await admitted(limiters, Limits(concurrency=limit, requests_per_minute=10**6), limit) == limit


async def test_losing_the_ledger_half_way_lets_a_slice_more_through_at_most(ledger: MemoryLedger) -> None:
    limiters, limits = workers(ledger, 2), Limits(requests_per_minute=100)
    before = await admitted(limiters, limits, 30)
    ledger.away = True
    slice_of_one = 100 // 16
    assert before + await admitted(limiters, limits, 100) <= 100 + slice_of_one


async def test_what_was_spent_alone_is_told_when_the_ledger_is_back(ledger: MemoryLedger) -> None:
    limiters, limits = workers(ledger, 2), Limits(requests_per_minute=100)
    ledger.away = True
    assert await admitted(limiters, limits, 30) == 60
    ledger.away = False
    for limiter in limiters:
        await limiter.synchronise()
    assert await admitted(limiters, limits, 100) <= 40


async def test_a_lowered_limit_holds_at_once(ledger: MemoryLedger) -> None:
    limiters = workers(ledger, 2)
    assert await admitted(limiters, Limits(requests_per_minute=1000), 1) == 2
    assert await admitted(limiters, Limits(requests_per_minute=4), 50) == 2


async def test_what_nobody_would_notice_is_told_now_and_then(limiter: Limiter, ledger: MemoryLedger) -> None:
    limits = Limits(requests_per_minute=100_000, concurrency=1000)
    told = []
    for _ in range(3 * (UNNOTICED + 1)):
        (await admit(limiter, limits)).settle(1)
        before = ledger.calls
        await limiter.synchronise()
        told.append(ledger.calls - before)
    assert sum(told) == 3
    for _ in range(2000):
        (await admit(limiter, limits)).settle(1)
    before = ledger.calls
    await limiter.synchronise()
    assert ledger.calls > before
    (await admit(limiter, limits)).settle(1)
    for _ in range(KEEP + 1):
        await limiter.synchronise()
    assert not limiter._accounts
    assert sum(book.spent for book in ledger.books.values()) == 15 + 2000 + 1


async def test_a_ledger_that_comes_back_empty_learns_what_was_spent(
    limiter: Limiter, ledger: MemoryLedger
) -> None:
    limits = Limits(tokens_per_day=100)
    (await admit(limiter, limits, 60)).settle(60)
    await limiter.synchronise()
    ledger.books.clear()
    with pytest.raises(InsufficientQuota):
        await admit(limiter, limits, 60)


async def test_who_left_is_forgotten(limiter: Limiter) -> None:
    (await admit(limiter, Limits(requests_per_minute=10))).settle(1)
    for _ in range(KEEP + 1):
        await limiter.synchronise()
    assert not limiter._accounts


async def test_a_long_request_costs_the_ledger_a_word_now_and_then(ledger: MemoryLedger) -> None:
    """A word each second for each stream would take a tenth of a worker's time."""
    first, second = workers(ledger, 2)
    limits = Limits(concurrency=2, requests_per_minute=10**6)
    held = [await admit(first, limits) for _ in range(2)]
    for _ in range(KEEP + 2):
        await first.synchronise()
    calls = ledger.calls
    for _ in range(2 * RETELL):
        await first.synchronise()
    assert calls < ledger.calls <= calls + 2
    ledger.books.clear()
    for _ in range(RETELL):
        await first.synchronise()
    assert await admitted([second], limits, 2) == 0
    for reservation in held:
        reservation.settle(1)
    for _ in range(KEEP + 1):
        await first.synchronise()
    ledger.clock.now += 1.0
    assert await admitted([second], limits, 2) == 2
    assert not first._accounts


Step = st.tuples(st.integers(0, 2), st.integers(1, 60), st.floats(0, 1.5), st.booleans())


@settings(deadline=None, max_examples=60)
@given(steps=st.lists(Step, max_size=60), limit=st.integers(1, 300))
async def test_never_more_than_the_limit_is_let_through(
    steps: list[tuple[int, int, float, bool]], limit: int
) -> None:
    """Whatever the workers do: no more than the limit at first and what was forgotten since; more than that only by
    a request larger than the limit, which a whole limit lets through."""
    ledger = MemoryLedger(Clock())
    limiters, limits = workers(ledger, 3), Limits(tokens_per_minute=limit)
    start, through = ledger.clock.now, 0
    for worker, tokens, pause, synchronise in steps:
        ledger.clock.now += pause
        if synchronise:
            await limiters[worker].synchronise()
        try:
            await admit(limiters[worker], limits, tokens)
        except RateLimited:
            continue
        through += min(tokens, limit)
    assert through <= limit + (ledger.clock.now - start) * limit / 60 + 0.1


def test_durations_are_written_as_openai_writes_them() -> None:
    assert [duration(each) for each in (0.02, 1.5, 59, 360)] == ["20ms", "1.5s", "59s", "6m0s"]
