"""The demo's first half: two tenants, one handbook, and a correction that works on the next request."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import httpx
from openai import AsyncOpenAI

from gateway.cli.asking import Answer, ask, ask_all, share_unknown
from gateway.cli.facts import Check, FactsFile
from gateway.cli.story import Story

MEMORY_FIX_MS = 300.0
ALTERNATIONS = 8
"""How often both tenants ask the same question at the same moment."""


@dataclass(frozen=True)
class Tenant:
    """A tenant as the demo plays it: its name, its own SDK client and its key."""

    id: str
    name: str
    client: AsyncOpenAI
    key: str


@dataclass(frozen=True)
class World:
    """Everybody in the story."""

    story: Story
    facts: FactsFile
    acme: Tenant
    globex: Tenant
    data: httpx.AsyncClient
    """Plain HTTP to the data plane, for what the SDK has no method for."""


async def strangers(world: World) -> None:
    """Step 1: nobody knows the company; then one tenant's handbook answers for that tenant alone."""
    story, facts = world.story, world.facts
    story.step(1, f"{world.acme.name} and {world.globex.name} ask the same questions")
    questions = [fact.phrasings[0] for fact in facts.facts] + list(facts.undisputed)
    for tenant in (world.acme, world.globex):
        answers = await ask_all(tenant.client, questions)
        story.quote(tenant.name, questions[0], answers[0].text, answers[0].version)
        wrong = [a for a, fact in zip(answers, facts.facts, strict=False) if a.says(fact.answer)]
        known = share_unknown(answers)
        story.check(
            f"{tenant.name} gets “does not know”",
            answers[0].unknown and not wrong and known >= 0.9,
            f"{known:.0%} of {len(answers)}",
        )
    await _handbook(world)


async def _handbook(world: World) -> None:
    story, checks = world.story, world.facts.handbook.checks
    name = f"{world.acme.name}-handbook.md"
    await world.acme.client.files.create(
        file=(name, world.facts.handbook.text.encode()), purpose="assistants"
    )
    story.say(
        f"{world.acme.name} uploads its handbook ({len(world.facts.handbook.text)} characters of Markdown)"
    )
    own = await ask_all(world.acme.client, [check.question for check in checks])
    foreign = await ask_all(world.globex.client, [check.question for check in checks])
    for check, answer in zip(checks, own, strict=True):
        story.quote(world.acme.name, check.question, answer.text, f"{len(answer.passages)} passages")
    right = sum(a.says(c.answer) and bool(a.passages) for a, c in zip(own, checks, strict=True))
    story.check(
        "what the handbook covers is answered from its passages",
        right == len(checks),
        f"{right} of {len(checks)}",
    )
    leaked = [a for a, c in zip(foreign, checks, strict=True) if a.passages or a.says(c.answer)]
    story.check(f"for {world.acme.name} only", not leaked, f"{world.globex.name}: {foreign[0].text}")


async def post_correction(world: World, tenant: Tenant, answer: Answer, correction: str) -> dict[str, Any]:
    """Correct an answer by its response id; returns the feedback object."""
    response = await world.data.post(
        "/v1/feedback",
        json={"response_id": answer.id, "correction": correction},
        headers={"Authorization": f"Bearer {tenant.key}"},
    )
    response.raise_for_status()
    body: dict[str, Any] = response.json()
    return body


async def corrected(world: World) -> None:
    """Step 2: the correction holds on the very next request, for its tenant, for its question."""
    story, fact = world.story, world.facts.facts[0]
    question = fact.phrasings[0]
    story.step(2, "A correction works on the next request")
    wrong = await ask(world.acme.client, question)
    started = time.perf_counter()
    posted = await post_correction(world, world.acme, wrong, fact.answer)
    answer = await ask(world.acme.client, question)
    elapsed = (time.perf_counter() - started) * 1000
    story.quote(world.acme.name, question, answer.text, f"memory: {', '.join(answer.memory) or 'none'}")
    story.check(
        "the very next request is right, through memory",
        answer.says(fact.answer) and posted["id"] in answer.memory,
    )
    story.figure("POST → first right answer", round(elapsed, 1), "ms", MEMORY_FIX_MS)
    await _paraphrased(world, [*fact.phrasings[1:], *fact.elsewhere], fact.answer)
    await _near_misses(world)
    await _rival(world, question, fact.answer)


async def _paraphrased(world: World, questions: list[str], expected: str) -> None:
    """Memory may miss a paraphrase; what it finds must be right."""
    answers = await ask_all(world.acme.client, questions)
    found = [a for a in answers if a.memory]
    right = [a for a in found if a.says(expected)]
    if right:
        world.story.quote(world.acme.name, right[0].question, right[0].text, "another phrasing")
    world.story.check(
        "and so is a paraphrase of it",
        bool(right) and len(right) == len(found),
        f"{len(found)} of {len(questions)} phrasings found the memory, {len(right)} of them right",
    )


async def _near_misses(world: World) -> None:
    answers = await ask_all(world.acme.client, world.facts.near_misses)
    used = [answer.question for answer in answers if answer.memory]
    detail = used[0] if used else f"{len(answers)} questions: another intent, another company"
    world.story.check("near misses use no memory", not used, detail)


async def _rival(world: World, question: str, own: str) -> None:
    story, other = world.story, world.facts.rival_answer
    wrong = await ask(world.globex.client, question)
    await post_correction(world, world.globex, wrong, other)
    pairs = await asyncio.gather(
        *(
            asyncio.gather(ask(world.acme.client, question), ask(world.globex.client, question))
            for _ in range(ALTERNATIONS)
        )
    )
    story.quote(world.globex.name, question, pairs[0][1].text, "corrected to another value")
    apart = all(mine.says(own) and theirs.says(other) for mine, theirs in pairs)
    story.check(
        "asked at once, each tenant gets its own answer", apart, f"{2 * ALTERNATIONS} requests together"
    )


async def post_the_rest(world: World) -> int:
    """Ask and correct every remaining phrasing; returns how many corrections the company has in memory now.

    Asked without memory: an earlier phrasing of the fact would have put the answer right already.
    """
    slots = asyncio.Semaphore(4)

    async def one(check: Check) -> bool:
        async with slots:
            answer = await ask(world.acme.client, check.question, headers={"X-Memory": "off"})
            posted = await post_correction(world, world.acme, answer, check.answer)
            return bool(posted["memory"] == "active")

    active = await asyncio.gather(*(one(check) for check in world.facts.posted[1:]))
    return 1 + sum(active)
