import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.index import VectorIndex


def vector(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_the_nearest_come_best_first() -> None:
    index: VectorIndex[str] = VectorIndex(2)
    index.put("a", vector(1, 0), "A")
    index.put("b", vector(0.6, 0.8), "B")
    assert [item for _, item in index.search(vector(1, 0), 5)] == ["A", "B"]


def test_putting_a_key_again_replaces_its_item() -> None:
    index: VectorIndex[str] = VectorIndex(2)
    index.put("a", vector(1, 0), "old")
    index.put("a", vector(0, 1), "new")
    assert (len(index), index.search(vector(0, 1), 5)) == (1, [(1.0, "new")])


def test_an_empty_index_finds_nothing() -> None:
    assert VectorIndex[str](2).search(vector(1, 0), 3) == []


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=30))
def test_it_holds_what_was_put_and_not_removed(steps: list[tuple[str, bool]]) -> None:
    index: VectorIndex[str] = VectorIndex(2)
    expected: set[str] = set()
    for key, put in steps:
        if put:
            index.put(key, vector(1, 0), key)
            expected.add(key)
        else:
            index.remove([key])
            expected.discard(key)
    assert {item for _, item in index.search(vector(1, 0), 99)} == expected == set(index.items())
