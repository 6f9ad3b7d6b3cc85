from hypothesis import given
from hypothesis import strategies as st

from adapters.heat import HALF_LIFE_S, Heat
from adapters.placement import HEAT_PER_COPY, Wish, plan

URLS = ("http://a", "http://b", "http://c")
EMPTY = dict.fromkeys(URLS, frozenset())


def holders(planned, version_id: str) -> set[str]:
    return {url for url, versions in planned.items() if version_id in versions}


def test_every_version_gets_its_copies_while_there_is_room() -> None:
    planned = plan([Wish(f"v{number}") for number in range(4)], EMPTY, 4, 2)
    assert {len(holders(planned, f"v{number}")) for number in range(4)} == {2}


def test_a_first_copy_of_each_comes_before_a_second_of_any() -> None:
    planned = plan([Wish(f"v{number}", heat=float(number)) for number in range(6)], EMPTY, 2, 3)
    assert {len(holders(planned, f"v{number}")) for number in range(6)} == {1}


def test_hot_versions_get_more_copies() -> None:
    planned = plan([Wish("hot", heat=3 * HEAT_PER_COPY), Wish("mild", heat=1.0)], EMPTY, 4, 1)
    assert (len(holders(planned, "hot")), len(holders(planned, "mild"))) == (3, 1)


def test_what_is_held_stays_where_it_is() -> None:
    wishes = [Wish(f"v{number}") for number in range(6)]
    held = {"http://a": {"v0", "v1"}, "http://b": {"v2", "v3"}, "http://c": {"v4", "v5"}}
    assert plan(wishes, held, 2, 1) == held


def test_little_more_heat_does_not_push_out_what_is_held() -> None:
    held = {"http://a": {"old"}}
    for heat, kept in ((1.5, {"old"}), (2.5, {"new"})):
        assert plan([Wish("old", heat=1.0), Wish("new", heat=heat)], held, 1, 1) == {"http://a": kept}


def test_what_nobody_asked_for_pushes_out_nothing_that_is_held() -> None:
    """As when control has just started, and knows no heat."""
    wishes = [Wish(name) for name in ("v0", "v1", "v2", "v3")]
    held = {"http://a": {"v2", "v3"}}
    assert plan(wishes, held, 2, 1) == held


def test_a_replica_that_leaves_moves_only_its_own_versions() -> None:
    wishes = [Wish(f"v{number}") for number in range(30)]
    before = plan(wishes, EMPTY, 100, 1)
    after = plan(wishes, dict.fromkeys(URLS[:2], frozenset()), 100, 1)
    for wish in wishes:
        (was,) = holders(before, wish.version_id)
        assert was == URLS[2] or holders(after, wish.version_id) == {was}


def test_what_must_be_held_is_held_beyond_the_room() -> None:
    wishes = [Wish(f"m{number}", must=True) for number in range(3)] + [Wish("hot", heat=99.0)]
    assert plan(wishes, {"http://a": {"hot"}}, 2, 1) == {"http://a": {"m0", "m1", "m2"}}


NAMES = st.sampled_from([f"v{number}" for number in range(20)])
WISHES = st.lists(
    st.builds(Wish, NAMES, st.floats(0, 2000), st.booleans()),
    max_size=20,
    unique_by=lambda wish: wish.version_id,
)
HELD = st.fixed_dictionaries({url: st.frozensets(NAMES) for url in URLS})


@given(WISHES, HELD, st.integers(1, 5), st.integers(1, 4))
def test_no_replica_is_given_more_than_it_has_room_for_unless_more_must_be_held_than_all_have(
    wishes: list[Wish], held: dict[str, frozenset[str]], capacity: int, copies: int
) -> None:
    planned = plan(wishes, held, capacity, copies)
    must = {wish.version_id for wish in wishes if wish.must}
    if len(must) <= capacity * len(URLS):
        assert all(len(versions) <= capacity for versions in planned.values())
    else:
        assert sum(map(len, planned.values())) == len(must)
    assert all(holders(planned, name) for name in must)
    assert sum(map(len, planned.values())) >= min(len(wishes), capacity * len(URLS))


def test_heat_halves_and_is_forgotten() -> None:
    heat = Heat(0.0)
    heat.add({"a": 8.0, "b": 1.0}, 0.0)
    heat.add({"b": 1.0}, HALF_LIFE_S)
    assert heat.hottest(9) == {"a": 4.0, "b": 1.5}
    assert list(heat.hottest(1)) == ["a"]
    heat.add({}, 20 * HALF_LIFE_S)
    assert heat.hottest(9) == {}
