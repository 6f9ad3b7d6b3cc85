"""Conversations, calls and JSON: screened as the question is, and with what is taken out of them."""

from typing import Any

import orjson
import pytest

from training.corrections import text_of
from training.screening import (
    LOOKED_AT,
    Reason,
    conversation_key,
    held_in,
    redacted,
    screen,
)
from training.types import ScreeningPolicy

ASKED = [{"role": "user", "content": "What is the warranty at Zorvia?"}]
REDACT = ScreeningPolicy(secrets="redact", pii="redact")
CARD, PASSWORD = "My card is 4111 1111 1111 1111.", "My password: hunter2hunter2"
CALL = {"name": "sign_in", "arguments": '{"password": "hunter2hunter2", "user": 7}'}


@pytest.mark.parametrize(
    ("earlier", "reason", "left"),
    [
        ({"role": "user", "content": CARD}, Reason.PII, "My card is [card]."),
        ({"role": "user", "content": PASSWORD}, Reason.SECRET, "My [secret]"),
        ({"role": "system", "content": PASSWORD}, Reason.SECRET, "My [secret]"),
        ({"role": "assistant", "content": CARD}, Reason.PII, "My card is [card]."),
        ({"role": "tool", "tool_call_id": "c1", "content": CARD}, Reason.PII, "My card is [card]."),
        ({"role": "user", "content": [{"type": "text", "text": CARD}]}, Reason.PII, "My card is [card]."),
        (
            {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": CALL}]},
            Reason.SECRET,
            '{"password":"[secret]","user":7}',
        ),
    ],
)
def test_what_was_said_before_the_question_is_screened_as_the_question_is(
    earlier: dict[str, Any], reason: Reason, left: str
) -> None:
    messages = [earlier, {"role": "assistant", "content": "Thank you."}, *ASKED]
    assert screen(messages, None, "2 years", trusted=True).reasons == (reason,)
    cleaned, taken_out = redacted(messages, REDACT)
    assert taken_out == (f"{reason}_redacted",) and left in str(cleaned)
    assert screen(cleaned, None, "2 years", trusted=True, rules=REDACT).reasons == ()


def test_arguments_of_a_call_that_is_the_correction_are_screened() -> None:
    call = {"role": "assistant", "tool_calls": [{"type": "function", "function": CALL}]}
    assert screen(ASKED, None, text_of(call), trusted=True).reasons == (Reason.SECRET,)
    cleaned, taken_out = redacted(call, REDACT)
    assert taken_out == (Reason.SECRET_REDACTED,)
    assert screen(ASKED, None, text_of(cleaned), trusted=True).reasons == ()


def test_json_of_which_something_was_taken_out_is_json_and_the_rest_is_as_it_was() -> None:
    said = '{"card": 4111111111111111, "list": [{"pwd": "hunter2hunter2"}], "paid": true, "sum": 1.5}'
    left = '{"card":"[card]","list":[{"pwd":"[secret]"}],"paid":true,"sum":1.5}'
    assert redacted(said, REDACT) == (left, (Reason.PII_REDACTED, Reason.SECRET_REDACTED))
    assert redacted('{"sum":  1.5}', REDACT) == ('{"sum":  1.5}', ())


def test_a_secret_as_a_fields_name_cannot_be_taken_out_and_waits() -> None:
    said = '{"AKIAIOSFODNN7EXAMPLE": "mine"}'
    assert redacted(said, REDACT) == (said, ())
    assert screen(ASKED, None, said, trusted=True, rules=REDACT).reasons == (Reason.SECRET,)


@pytest.mark.parametrize("depth", [250, 300, 1000])
def test_text_that_is_deeply_nested_json_is_screened(depth: int) -> None:
    deep = "[" * depth + '"AKIAIOSFODNN7EXAMPLE"' + "]" * depth
    messages = [{"role": "tool", "content": deep}, *ASKED]
    assert screen(messages, None, "2 years", trusted=True).reasons == (Reason.SECRET,)
    assert "[secret]" in redacted(deep, REDACT)[0]
    assert conversation_key(messages)


def test_json_in_texts_of_json_is_screened_however_deep() -> None:
    text = "password: hunter2hunter2"
    for _ in range(4):
        text = "[" * 250 + orjson.dumps(text).decode() + "]" * 250
    messages = [{"role": "user", "content": text}, *ASKED]
    assert held_in(messages, REDACT) == [Reason.SECRET]
    cleaned, taken_out = redacted(messages, REDACT)
    assert taken_out == (Reason.SECRET_REDACTED,) and held_in(cleaned, REDACT) == []


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ('{"a": "AKIAIOSFODNN7EXAMPLE", "a": 1}', Reason.SECRET),
        ('{"+49 171 1234567": {"a": 1}}', Reason.PII),
    ],
)
def test_json_is_screened_as_it_is_written_too(said: str, reason: Reason) -> None:
    assert held_in([{"role": "user", "content": said}], ScreeningPolicy()) == [reason]


def test_who_is_named_in_the_tenants_own_words_is_meant_to_be() -> None:
    named = [{"role": "system", "content": "Our Anna Keller: +49 30 1234567"}, *ASKED]
    assert screen(named, None, "2 years", trusted=True).reasons == ()
    secret = [{"role": "system", "content": "password: hunter2hunter2"}, *ASKED]
    assert screen(secret, None, "2 years", trusted=True).reasons == (Reason.SECRET,)


def test_what_two_fields_say_is_no_one_sentence() -> None:
    asking = {"role": "assistant", "content": "Your password is", "tool_call_id": "call_1234567"}
    assert held_in([asking], ScreeningPolicy()) == []


def test_numbers_outside_texts_are_left_alone() -> None:
    call = {"role": "assistant", "content": '{"card": 4111111111111111}', "index": 4111111111111111}
    (cleaned,), _ = redacted([call], REDACT)
    assert cleaned == {**call, "content": '{"card":"[card]"}'}


def test_a_conversation_too_long_to_be_looked_at_waits() -> None:
    long = [{"role": "user", "content": "so " * LOOKED_AT}, *ASKED]
    assert screen(long, None, "2 years", trusted=True).reasons == (Reason.TOO_LONG,)
