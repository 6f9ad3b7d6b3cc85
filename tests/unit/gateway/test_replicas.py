from collections.abc import Callable

import pytest

from gateway.replicas import FAILURES_TO_OPEN, OPEN_S, Replica, Replicas

URLS = ("http://a", "http://b", "http://c")


def test_a_version_stays_on_its_replica() -> None:
    replicas = Replicas({"base": URLS})
    assert len({replicas.pick("base", "ver_1").url for _ in range(10)}) == 1


def test_versions_spread_over_replicas() -> None:
    replicas = Replicas({"base": URLS})
    assert {replicas.pick("base", f"ver_{number}").url for number in range(50)} == set(URLS)


def test_losing_a_replica_moves_only_its_own_versions() -> None:
    before, after = Replicas({"base": URLS}), Replicas({"base": URLS[:2]})
    for number in range(50):
        chosen = before.pick("base", f"ver_{number}").url
        assert chosen == "http://c" or after.pick("base", f"ver_{number}").url == chosen


def test_a_replica_that_was_tried_is_not_picked_again() -> None:
    replicas = Replicas({"base": URLS[:2]})
    first = replicas.pick("base", "ver_1")
    second = replicas.pick("base", "ver_1", {first.url})
    assert first.url != second.url
    assert replicas.pick("base", "ver_1", {first.url, second.url}) is None


def test_a_replica_that_keeps_failing_is_left_alone_for_a_while() -> None:
    now = [0.0]
    replicas = Replicas({"base": URLS[:2]}, clock=lambda: now[0])
    first = replicas.pick("base", "ver_1")
    for _ in range(FAILURES_TO_OPEN):
        replicas.failed(first)
    assert replicas.pick("base", "ver_1").url != first.url
    now[0] += OPEN_S
    assert replicas.pick("base", "ver_1").url == first.url


@pytest.fixture
def recovering(now: list[float]) -> tuple[Replicas, Replica]:
    """One of two replicas has failed, and may be tried again."""
    replicas = Replicas({"base": URLS[:2]}, clock=lambda: now[0])
    first = replicas.pick("base", "ver_1")
    assert first is not None
    for _ in range(FAILURES_TO_OPEN):
        replicas.failed(first)
    now[0] += OPEN_S
    return replicas, first


@pytest.fixture
def now() -> list[float]:
    return [0.0]


def test_one_request_tries_a_replica_that_failed(
    now: list[float], recovering: tuple[Replicas, Replica]
) -> None:
    """Else all that came while a dead one takes seconds to say nothing would wait for it, and each would be a
    retry."""
    replicas, first = recovering

    def tries() -> int:
        return sum(replicas.pick("base", "ver_1") is first for _ in range(50))

    assert tries() == 1
    now[0] += OPEN_S
    assert tries() == 1
    replicas.failed(first)
    assert tries() == 0


@pytest.mark.parametrize("well", [Replicas.answered, Replicas.succeeded])
def test_a_replica_that_answers_the_one_is_taken_by_all(
    recovering: tuple[Replicas, Replica], well: Callable[[Replicas, Replica], None]
) -> None:
    replicas, first = recovering
    replicas.pick("base", "ver_1")
    well(replicas, first)
    assert {replicas.pick("base", "ver_1").url for _ in range(9)} == {first.url}


@pytest.mark.parametrize("well", [Replicas.answered, Replicas.succeeded])
def test_answers_to_earlier_requests_close_no_breaker(
    recovering: tuple[Replicas, Replica], well: Callable[[Replicas, Replica], None]
) -> None:
    """An engine that is told to stop finishes what runs and takes nothing new."""
    replicas, first = recovering
    replicas.pick("base", "ver_1")
    replicas.failed(first)
    well(replicas, first)
    assert replicas.pick("base", "ver_1") is not first


def test_a_stream_that_began_and_breaks_off_opens_the_breaker_again(
    recovering: tuple[Replicas, Replica],
) -> None:
    replicas, first = recovering
    replicas.pick("base", "ver_1")
    replicas.answered(first)
    replicas.failed(first)
    assert replicas.pick("base", "ver_1") is not first


def test_the_last_replica_is_tried_even_when_it_fails() -> None:
    replicas = Replicas({"base": URLS[:1]})
    for _ in range(FAILURES_TO_OPEN):
        replicas.failed(replicas.pick("base", "ver_1"))
    assert replicas.pick("base", "ver_1").url == "http://a"


def test_a_version_goes_where_it_is_held() -> None:
    replicas = Replicas({"base": URLS}, resident=lambda name: {"http://b"} if name == "ver_b" else ())
    assert replicas.pick("base", "ver_b").url == "http://b"
    assert replicas.pick("base", "ver_b", {"http://b"}).url != "http://b"


def test_a_hot_versions_copies_share_its_requests() -> None:
    replicas = Replicas({"base": URLS}, resident=lambda _: URLS[:2])
    for _ in range(20):
        replicas.pick("base", "ver_1").running += 1
    first, second, none = (replicas.pick("base", "ver_1", set(URLS) - {url}).running for url in URLS)
    assert (first > 6, second > 6, none) == (True, True, 0)


def test_requests_to_the_base_model_spread_over_all_replicas() -> None:
    replicas = Replicas({"base": URLS})
    for _ in range(30):
        replicas.pick("base", "base").running += 1
    assert all(replicas.pick("base", "base", set(URLS) - {url}).running > 5 for url in URLS)


def test_a_request_never_goes_to_a_replica_of_another_base_model() -> None:
    """Not even where that one is said to hold the version."""
    pools = {"base": URLS[:2], "large": URLS[2:]}
    replicas = Replicas(pools, resident=lambda _: URLS)
    chosen = {base: {replicas.pick(base, f"ver_{number}").url for number in range(50)} for base in pools}
    assert chosen == {base: set(urls) for base, urls in pools.items()}
    assert replicas.pick("large", "ver_1", URLS[2:]) is None


def test_a_drained_replica_is_asked_only_when_no_other_answers() -> None:
    drained = {"http://a"}
    replicas = Replicas({"base": URLS}, resident=lambda _: {"http://a"}, drained=lambda: drained)
    assert {replicas.pick("base", f"ver_{number}").url for number in range(50)} == {"http://b", "http://c"}
    assert replicas.pick("base", "base").url != "http://a"
    for url in ("http://b", "http://c"):
        for _ in range(FAILURES_TO_OPEN):
            replicas.failed(replicas.pick("base", "ver_1", set(URLS) - {url}))
    assert replicas.pick("base", "ver_1").url == "http://a"
    drained.clear()
    assert replicas.pick("base", "ver_1").url == "http://a"
