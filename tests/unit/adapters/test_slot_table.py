"""Which versions get an engine's slots."""

from hypothesis import given
from hypothesis import strategies as st

from adapters.slot_table import TENURE_S, SlotTable, Word

LIVE = ("w_0", "w_1")


def want(**waited: float) -> Word:
    return Word((), waited)


def test_free_slots_go_to_those_who_have_waited_longest() -> None:
    grants = SlotTable(2).exchange("w_0", want(a=0.1, b=0.3, c=0.2), 10.0, LIVE)
    assert grants.held == {"b", "c"}
    assert grants.short == 1


def test_workers_share_a_versions_slot() -> None:
    table = SlotTable(1)
    table.exchange("w_0", want(a=0.0), 10.0, LIVE)
    assert table.exchange("w_1", want(a=0.0), 10.0, LIVE).held == {"a"}
    assert table.exchange("w_0", Word({"a"}, {"b": 0.0}), 11.0, LIVE).held == frozenset()
    assert table.exchange("w_1", Word({"a"}), 11.0, LIVE).held == frozenset()
    assert table.exchange("w_0", want(b=0.0), 11.0, LIVE).held == {"b"}


def test_a_version_keeps_its_slot_for_its_tenure_and_then_makes_room() -> None:
    table = SlotTable(1)
    table.exchange("w_0", want(a=0.0), 10.0, LIVE)
    early = table.exchange("w_0", want(b=0.0), 10.0 + TENURE_S / 2, LIVE)
    late = table.exchange("w_0", want(b=0.0), 10.0 + 2 * TENURE_S, LIVE)
    assert (early.leaving, late.leaving) == (frozenset(), {"a"})


def test_no_more_versions_make_room_than_wait() -> None:
    table = SlotTable(3)
    for at, version in enumerate("abc"):
        table.exchange("w_0", want(**{version: 0.0}), float(at), LIVE)
    assert table.exchange("w_0", want(d=0.0, e=0.0), 10.0, LIVE).leaving == {"a", "b"}


def test_what_is_held_beyond_the_slots_leaves_although_nobody_waits() -> None:
    table = SlotTable(3)
    for at, version in enumerate("abc"):
        table.exchange("w_0", want(**{version: 0.0}), float(at), LIVE)
    table.slots = 1
    assert table.exchange("w_0", Word(), 10.0, LIVE).leaving == {"a", "b"}
    assert table.exchange("w_0", want(d=0.0), 10.0, LIVE).leaving == {"a", "b", "c"}


def test_a_version_that_makes_room_takes_no_further_worker() -> None:
    table = SlotTable(1)
    table.exchange("w_0", want(a=0.0), 10.0, LIVE)
    table.exchange("w_0", want(b=0.0), 11.0, LIVE)
    assert table.exchange("w_1", want(a=0.0), 11.0, LIVE).held == frozenset()


def test_a_slot_that_becomes_free_is_granted_to_a_worker_that_did_not_ask_just_now() -> None:
    table = SlotTable(1)
    table.exchange("w_0", want(a=0.0), 10.0, LIVE)
    assert table.exchange("w_1", want(b=0.0), 10.0, LIVE).others
    assert table.exchange("w_0", Word({"a"}), 11.0, LIVE).others
    assert table.exchange("w_1", want(b=1.0), 11.0, LIVE).held == {"b"}


def test_what_a_dead_worker_held_or_wanted_is_free() -> None:
    table = SlotTable(1)
    table.exchange("w_1", want(a=0.0, c=5.0), 10.0, LIVE)
    assert table.exchange("w_0", want(b=0.0), 11.0, ("w_0",)).held == {"b"}


def test_what_runs_is_held_although_the_ledger_does_not_know_and_makes_room_where_that_is_too_much() -> None:
    table = SlotTable(1)
    table.exchange("w_0", want(a=0.0), 10.0, LIVE)
    grants = table.exchange("w_1", Word((), {}, {"b"}), 11.0, LIVE)
    assert (grants.held, grants.leaving, table.held.keys()) == ({"b"}, frozenset(), {"a", "b"})
    assert table.exchange("w_0", Word((), {"c": 0.0}), 12.0, LIVE).held == {"a"}
    assert table.exchange("w_1", Word({"b"}), 12.0, LIVE).held == frozenset()


Step = st.tuples(
    st.sampled_from(LIVE),
    st.sets(st.sampled_from("abcdef")),
    st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 5)),
    st.floats(0, 0.3),
)


@given(st.integers(1, 4), st.lists(Step, max_size=40))
def test_never_more_versions_hold_slots_than_there_are(slots: int, steps: list) -> None:
    table, now = SlotTable(slots), 10.0
    for worker, released, wanted, passed in steps:
        now += passed
        grants = table.exchange(worker, Word(released, wanted), now, LIVE)
        assert len(table.held) <= slots
        assert not (table.waiting.keys() - table.held.keys()) or len(table.held) == slots
        assert grants.leaving <= grants.held
