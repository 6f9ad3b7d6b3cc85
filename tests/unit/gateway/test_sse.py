import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import sse
from gateway.errors import EngineUnavailable, InvalidRequest
from gateway.protocol import MAX_EVENT_BYTES, Names
from gateway.sse import StreamRenamer


def event(**body: object) -> bytes:
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def chunk(text: str) -> bytes:
    return event(id="chatcmpl-up", model="ver_1", choices=[{"index": 0, "delta": {"content": text}}])


USAGE = event(id="chatcmpl-up", model="ver_1", choices=[], usage={"total_tokens": 9})
DONE = b"data: [DONE]\n\n"


def renamer(keep_usage: bool = False, keep_text: bool = True) -> StreamRenamer:
    names = Names("chatcmpl-our", "default", "ver_1")
    return StreamRenamer(names, said, keep_usage=keep_usage, keep_text=keep_text)


def said(choices: list[dict]) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def test_ids_and_models_are_ours_in_every_event() -> None:
    out = renamer().feed(chunk("a") + chunk("b"))
    assert out == (chunk("a") + chunk("b")).replace(b"chatcmpl-up", b"chatcmpl-our").replace(
        b"ver_1", b"default"
    )


def test_generated_text_that_looks_like_a_name_is_left_alone() -> None:
    text = 'say "model":"ver_1" and "id":"chatcmpl-up"'
    stream = renamer()
    stream.feed(chunk(text))
    assert stream.outcome().text == text


def test_the_usage_event_is_only_for_those_who_asked() -> None:
    assert b"total_tokens" not in renamer().feed(chunk("a") + USAGE + DONE)
    assert b"total_tokens" in renamer(keep_usage=True).feed(chunk("a") + USAGE + DONE)


def test_usage_is_known_either_way() -> None:
    stream = renamer(keep_text=False)
    stream.feed(chunk("a") + USAGE + DONE)
    assert stream.outcome().usage == {"total_tokens": 9}


def test_text_is_not_kept_unless_wanted() -> None:
    stream = renamer(keep_text=False)
    stream.feed(chunk("secret") + DONE)
    assert stream.outcome().text == ""


def test_a_stream_is_complete_only_when_the_engine_says_so() -> None:
    stream = renamer()
    stream.feed(chunk("data: [DONE]"))
    assert not stream.done
    stream.feed(DONE)
    assert stream.done


def test_an_engines_failure_in_the_stream_is_told_in_our_words() -> None:
    stream = renamer()
    out = stream.feed(chunk("a") + event(error={"message": "/srv/ver_1 died", "code": 500}) + DONE)
    assert isinstance(stream.error, EngineUnavailable) and "ver_1" not in stream.error.message
    assert out.count(b"data: ") == 1 and stream.feed(chunk("b")) == b""


def test_a_refusal_in_the_stream_is_told_in_the_clients_words() -> None:
    stream = renamer()
    stream.feed(chunk("a") + event(error={"message": "ver_1 is too small", "code": 400}))
    assert isinstance(stream.error, InvalidRequest) and stream.error.message == "default is too small"


def test_names_are_learned_from_the_first_event_that_says_them() -> None:
    assert b"ver_1" not in renamer().feed(b": ping\n\n" + event(object="x") + chunk("a"))


def test_an_event_that_never_ends_is_given_up() -> None:
    stream = renamer()
    with pytest.raises(EngineUnavailable):
        for _ in range(MAX_EVENT_BYTES // 2**20 + 1):
            stream.feed(b"x" * 2**20)


def test_of_a_stream_without_end_so_much_text_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "KEPT_BYTES", 10 * len(chunk("x")))
    stream = renamer()
    for _ in range(1000):
        stream.feed(chunk("x"))
    assert stream.outcome().text == "x" * 10


def test_an_error_event_is_one_event() -> None:
    event = renamer().broken(EngineUnavailable("gone"))
    assert event.startswith(b'data: {"error":{"message":"gone"') and event.count(b"\n\n") == 1


@given(st.lists(st.text(max_size=8), max_size=6), st.data())
def test_cutting_the_stream_anywhere_changes_nothing(words: list[str], data: st.DataObject) -> None:
    whole = b"".join(chunk(word) for word in words) + USAGE + DONE
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    at_once, in_pieces = renamer(), renamer()
    assert b"".join(in_pieces.feed(piece) for piece in pieces) == at_once.feed(whole)
    assert in_pieces.outcome() == at_once.outcome()
    assert in_pieces.outcome().text == "".join(words)
    assert in_pieces.done
