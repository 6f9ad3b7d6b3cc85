from gateway.replicas import FAILURES_TO_OPEN, OPEN_S, Replicas

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
