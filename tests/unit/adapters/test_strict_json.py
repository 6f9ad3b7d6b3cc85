import pytest

from adapters.strict_json import read_json


def test_what_all_readers_agree_on_is_read() -> None:
    assert read_json(b' {"a": [1, 2.5, "\\u00e4", null], "b": {}}') == {"a": [1, 2.5, "ä", None], "b": {}}


def test_a_nul_that_is_only_spelled_out_is_read() -> None:
    assert read_json(b'{"a": "\\\\u0000"}') == {"a": "\\u0000"}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{", "not JSON"),
        (b"", "not JSON"),
        (b'"\xff"', "not JSON"),
        (b"NaN", "not JSON"),
        (b"1e999", "not JSON"),
        (b'"\\ud800"', "not JSON"),
        (b'{"a": 1, "a": 1}', "twice"),
        (b'[{"b": {"a": 1, "a": 2}}]', "twice"),
        (b"[" * 300 + b"]" * 300, "deep"),
        (b"[" * 100_000, "not JSON"),
        (b'"\\u0000"', "NUL"),
        (b'"\\\\\\u0000"', "NUL"),
        (b"9" * 10_000, "not JSON"),
    ],
)
def test_what_readers_differ_on_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_json(body)
