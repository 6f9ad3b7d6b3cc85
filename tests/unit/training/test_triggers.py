from dataclasses import replace
from datetime import UTC, datetime, timedelta

from training.triggers import COUNT, Counters, decide
from training.types import TriggerPolicy

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = TriggerPolicy(count=3, cooldown_seconds=60, debounce_seconds=2)
READY = Counters("ten_1", "default", accepted=3, latest_at=NOW - timedelta(seconds=5))


def test_enough_corrections_start_a_run() -> None:
    assert decide(POLICY, READY, NOW) == COUNT


def test_too_few_corrections_do_not() -> None:
    assert decide(POLICY, replace(READY, accepted=2), NOW) is None


def test_a_run_waits_until_nobody_is_posting() -> None:
    assert decide(POLICY, replace(READY, latest_at=NOW - timedelta(seconds=1)), NOW) is None


def test_an_adapter_with_a_run_gets_no_second() -> None:
    assert decide(POLICY, replace(READY, busy=True), NOW) is None


def test_a_run_waits_for_the_cool_down() -> None:
    assert decide(POLICY, replace(READY, last_run_at=NOW - timedelta(seconds=59)), NOW) is None
    assert decide(POLICY, replace(READY, last_run_at=NOW - timedelta(seconds=61)), NOW) == COUNT


def test_after_a_failure_the_cool_down_is_longer() -> None:
    failed = replace(READY, last_run_at=NOW - timedelta(seconds=61), last_run_failed=True)
    assert decide(POLICY, failed, NOW) is None
