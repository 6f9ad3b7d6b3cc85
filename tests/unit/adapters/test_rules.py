import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.rules import TRANSITIONS, stable_line
from adapters.types import VersionStatus


def test_every_status_has_its_transitions_written_down() -> None:
    assert set(TRANSITIONS) == set(VersionStatus)


LEGAL = {
    ("registered", "gating"),
    ("registered", "approved"),
    ("registered", "rejected"),
    ("gating", "approved"),
    ("gating", "rejected"),
    ("approved", "canary"),
    ("approved", "stable"),
    ("approved", "rejected"),
    ("approved", "retired"),
    ("canary", "stable"),
    ("canary", "rejected"),
    ("canary", "retired"),
    ("canary", "rolled_back"),
    ("stable", "retired"),
    ("stable", "rolled_back"),
    ("retired", "stable"),
    ("rolled_back", "stable"),
    ("retired", "pruned"),
    ("rolled_back", "pruned"),
    ("rejected", "pruned"),
}


@pytest.mark.parametrize("source", VersionStatus)
@pytest.mark.parametrize("target", VersionStatus)
def test_only_the_transitions_of_this_table_are_legal(source: VersionStatus, target: VersionStatus) -> None:
    assert (target in TRANSITIONS[source]) is ((source.value, target.value) in LEGAL)


def test_a_rejected_version_never_serves() -> None:
    assert TRANSITIONS[VersionStatus.REJECTED] == {VersionStatus.PRUNED}
    assert not TRANSITIONS[VersionStatus.PRUNED]


def test_a_version_that_was_not_judged_cannot_become_stable() -> None:
    judged = {source for source, targets in TRANSITIONS.items() if VersionStatus.STABLE in targets}
    assert not judged & {VersionStatus.REGISTERED, VersionStatus.GATING, VersionStatus.REJECTED}


def test_no_moves_leave_the_base_model_alone() -> None:
    assert stable_line([]) == [None]


def test_two_rollbacks_in_a_row_go_two_steps_back() -> None:
    assert stable_line(["v1", "v2", "v1"]) == [None, "v1"]


def test_a_version_after_a_rollback_stands_on_the_one_rolled_back_to() -> None:
    assert stable_line(["v1", "v2", "v1", "v3"]) == [None, "v1", "v3"]


def test_going_forward_again_makes_the_next_rollback_undo_it() -> None:
    assert stable_line(["v1", "v2", "v1", "v2"]) == [None, "v1", "v2"]


@given(st.lists(st.sampled_from([None, "v1", "v2", "v3", "v4"])))
def test_the_line_begins_at_the_base_and_ends_where_the_last_move_went(moves: list[str | None]) -> None:
    line = stable_line(moves)
    assert line[0] is None
    assert line[-1] == (moves[-1] if moves else None)
    assert len(set(line)) == len(line)
