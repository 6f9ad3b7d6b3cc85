import pytest

from gateway.errors import RateLimited
from gateway.limits import Limiter, duration
from gateway.policy import Limits


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_tenant_without_limits_gets_no_limit_headers() -> None:
    assert Limiter().admit("ten_1", Limits(), 10).headers() == {}


def test_requests_beyond_the_minutes_limit_are_refused_until_one_refills() -> None:
    clock = Clock()
    limiter, limits = Limiter(clock=clock), Limits(requests_per_minute=2)
    for _ in range(2):
        limiter.admit("ten_1", limits, 1).close()
    with pytest.raises(RateLimited) as refused:
        limiter.admit("ten_1", limits, 1)
    assert refused.value.retry_after_s == pytest.approx(30.0)
    clock.now += 30.0
    limiter.admit("ten_1", limits, 1)


def test_a_refused_request_costs_nothing() -> None:
    limiter, limits = Limiter(clock=Clock()), Limits(requests_per_minute=5, tokens_per_minute=100)
    limiter.admit("ten_1", limits, 90).close()
    with pytest.raises(RateLimited):
        limiter.admit("ten_1", limits, 50)
    assert limiter.admit("ten_1", limits, 5).headers()["x-ratelimit-remaining-requests"] == "3"


def test_one_tenants_use_is_not_anothers() -> None:
    limiter, limits = Limiter(clock=Clock()), Limits(requests_per_minute=1)
    limiter.admit("ten_1", limits, 1)
    limiter.admit("ten_2", limits, 1)


def test_real_usage_replaces_the_estimate() -> None:
    limiter, limits = Limiter(clock=Clock()), Limits(tokens_per_minute=100)
    admission = limiter.admit("ten_1", limits, 80)
    admission.close(tokens=10)
    assert admission.headers()["x-ratelimit-remaining-tokens"] == "90"


def test_concurrency_counts_what_runs() -> None:
    limiter, limits = Limiter(clock=Clock()), Limits(concurrency=1)
    first = limiter.admit("ten_1", limits, 1)
    with pytest.raises(RateLimited):
        limiter.admit("ten_1", limits, 1)
    first.close()
    limiter.admit("ten_1", limits, 1)


def test_a_worker_enforces_its_share() -> None:
    limiter, limits = Limiter(share=0.5, clock=Clock()), Limits(requests_per_minute=4)
    for _ in range(2):
        limiter.admit("ten_1", limits, 1)
    with pytest.raises(RateLimited):
        limiter.admit("ten_1", limits, 1)


def test_a_changed_limit_keeps_what_runs() -> None:
    limiter = Limiter(clock=Clock())
    running = limiter.admit("ten_1", Limits(concurrency=5), 1)
    with pytest.raises(RateLimited):
        limiter.admit("ten_1", Limits(concurrency=1), 1)
    running.close()
    limiter.admit("ten_1", Limits(concurrency=1), 1)


def test_durations_are_written_as_openai_writes_them() -> None:
    assert [duration(each) for each in (0.02, 1.5, 59, 360)] == ["20ms", "1.5s", "59s", "6m0s"]
