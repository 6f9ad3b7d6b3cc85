"""What an engine answered, written as a correction is."""

import pytest

from training.corrections import answer_text, functions_of, text_of
from training.errors import InvalidFeedback
from training.screening import Reason, screen

CALL = {"id": "call_1", "type": "function", "function": {"name": "refund", "arguments": '{"order": 7}'}}
WRITTEN = '<tool_call>\n{"name":"refund","arguments":{"order":7}}\n</tool_call>'
DEEP = '{"a":' * 600 + "1" + "}" * 600


def test_an_answer_is_written_as_its_correction_would_be() -> None:
    message = {"role": "assistant", "content": "One moment.", "tool_calls": [CALL]}
    assert answer_text(message["content"], message["tool_calls"]) == text_of(message)
    assert answer_text(None, [CALL]) == WRITTEN
    assert answer_text("Plain.", None) == "Plain."


def test_the_same_call_is_identical_to_the_rejected_one() -> None:
    def reasons(order: int) -> list[Reason]:
        call = {**CALL, "function": {"name": "refund", "arguments": f'{{"order":{order}}}'}}
        asked = [{"role": "user", "content": "Refund my order, please."}]
        screened = screen(
            asked,
            answer_text(None, [CALL]),
            text_of({"tool_calls": [call]}),
            trusted=True,
            same=[],
            own_output=False,
        )
        return list(screened.reasons)

    assert Reason.IDENTICAL in reasons(7)
    assert Reason.IDENTICAL not in reasons(8)


@pytest.mark.parametrize("arguments", ["order seven", "[7]", "", None, DEEP])
def test_arguments_that_a_model_made_up_are_kept(arguments: str | None) -> None:
    call = {"function": {"name": "refund", "arguments": arguments}}
    assert '"name":"refund"' in answer_text("", [call])


@pytest.mark.parametrize("calls", [{}, "x", [None], [{"function": "x"}]])
def test_calls_that_are_none_say_nothing(calls: object) -> None:
    assert answer_text("", calls) == ""


def test_a_correction_with_arguments_that_are_nested_too_deep_is_refused() -> None:
    call = {**CALL, "function": {"name": "refund", "arguments": DEEP}}
    with pytest.raises(InvalidFeedback, match="deep"):
        text_of({"tool_calls": [call]})


SCHEMA = {"type": "object", "properties": {"order": {"type": "integer"}}}
SHOWN = {"type": "function", "function": {"name": "refund", "description": None, "parameters": SCHEMA}}


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "function": {"name": "refund", "parameters": SCHEMA, "made_up": 1}},
        {"type": "function", "name": "refund", "parameters": SCHEMA},
        SHOWN,
    ],
)
def test_functions_are_as_the_engine_shows_them_to_the_chat_template(tool: object) -> None:
    assert functions_of([tool]) == [SHOWN]


@pytest.mark.parametrize(
    "tools",
    [None, "refund", {"type": "function"}, [1], [{"type": "custom", "name": "x"}], [{"type": "function"}]],
)
def test_what_is_no_function_is_left_out(tools: object) -> None:
    assert functions_of(tools) == []
