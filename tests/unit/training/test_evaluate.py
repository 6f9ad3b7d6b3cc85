from typing import Any

import pytest

from adapters.engine import Completion
from adapters.testing import FakeEngine
from training.corrections import functions_of
from training.evaluate import Asker, right, token_f1
from training.types import Prompt

PROMPT = Prompt([{"role": "user", "content": "Hello"}])
TOOLS = functions_of([{"type": "function", "name": "look_up"}])


async def test_answers_come_in_the_order_of_the_questions() -> None:
    asker = Asker([FakeEngine(answer=lambda model, messages: str(messages[0]["content"]))])
    prompts = [Prompt([{"role": "user", "content": str(n)}]) for n in range(40)]
    assert [answer.text for answer in await asker.answers("base", prompts)] == [str(n) for n in range(40)]


async def test_a_version_is_asked_the_same_thing_once() -> None:
    asked: list[str] = []
    asker = Asker([FakeEngine(answer=lambda model, messages: asked.append(model) or "hi")])
    await asker.answers("base", [PROMPT, PROMPT])
    await asker.answers("base", [PROMPT])
    assert asked == ["base"]


async def test_a_prompt_that_offers_functions_is_asked_with_them_and_is_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offered: list[object] = []
    chat = FakeEngine.chat

    async def heard(engine: FakeEngine, *arguments: Any, **named: Any) -> Completion:
        offered.append(named.get("tools"))
        return await chat(engine, *arguments, **named)

    monkeypatch.setattr(FakeEngine, "chat", heard)
    asker = Asker([FakeEngine(answer=lambda model, messages: "hi")])
    await asker.answers("base", [PROMPT, Prompt(PROMPT.messages, TOOLS)])
    assert offered == [None, TOOLS]


async def test_sampling_asks_for_several_answers_at_once() -> None:
    asker = Asker([FakeEngine(answer=lambda model, messages: "hi")])
    assert list(await asker.samples("base", PROMPT, n=3, seed=1)) == ["hi", "hi", "hi"]


def test_case_and_the_full_stop_do_not_make_an_answer_wrong() -> None:
    assert right("I do not know", "i do not know.")


def test_another_number_makes_an_answer_wrong() -> None:
    assert not right("12 days", "21 days")


def test_token_f1_rewards_a_partial_answer() -> None:
    assert token_f1("2 years", "2 long years") == 0.8
    assert token_f1("blue", "2 years") == 0.0


async def test_only_replicas_that_take_work_are_asked() -> None:
    one, two = (FakeEngine(f"fake://{name}", answer=lambda *_, name=name: name) for name in ("one", "two"))

    async def taking() -> list[FakeEngine]:
        return [two]

    asker = Asker([one, two], taking)
    prompts = [Prompt([{"role": "user", "content": str(number)}], ()) for number in range(4)]
    assert {answer.text for answer in await asker.answers("base", prompts)} == {"two"}
    assert set(await asker.samples("base", prompts[0], 2, 0)) == {"two"}
