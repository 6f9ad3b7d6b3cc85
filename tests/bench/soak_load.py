"""What five tenants do to a system for half an hour: ask, correct, swap and roll back."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from openai import OpenAIError

from deploy.demo.language import INTENTS
from deploy.demo.make_facts import new_names, phrasings
from gateway.cli.asking import Answer, ask
from gateway.cli.control import Control
from tests.bench.study_house import Client

FACTS = 24
PHRASINGS = 16
ASK_S = 0.6
CORRECT_S = 5.0
SWAP_S = 9.0
APPROVE_S = 2.0
RETRY_S = 1.0
TOLERATED = (httpx.HTTPError, OpenAIError)
"""A process that was killed a moment ago may cost a request; what must not happen is counted elsewhere."""


@dataclass(frozen=True)
class Questions:
    """The same questions for every tenant, phrased in several ways; each tenant has answers of its own, unlike all
    others."""

    texts: Sequence[Sequence[str]]
    """By fact, its phrasings."""
    answers: Sequence[Sequence[str]]
    """By tenant, by fact."""

    def owner(self, question: str, said: str) -> int | None:
        """The tenant whose answer to this question was said. To this one only: the tiny base model gets digits wrong,
        and now and then says what happens to be somebody's answer to something else."""
        fact = next(number for number, texts in enumerate(self.texts) if question in texts)
        words = f" {' '.join(said.split())} "
        return next((n for n, own in enumerate(self.answers) if f" {own[fact]} " in words), None)


def questions(tenants: int, seed: int) -> Questions:
    rng = random.Random(f"soak:{seed}")
    companies = new_names(rng, 2)
    pairs = [(company, intent) for company in companies for intent in INTENTS][:FACTS]
    texts = [phrasings(intent, company, PHRASINGS, rng) for company, intent in pairs]
    numbers = rng.sample(range(10_000, 100_000), tenants * FACTS)
    answers = [[f"{numbers.pop()} points" for _ in range(FACTS)] for _ in range(tenants)]
    return Questions(texts, answers)


@dataclass
class Tally:
    """What one tenant saw."""

    asked: int = 0
    answered: int = 0
    foreign: list[str] = field(default_factory=list)
    """Answers that are another tenant's."""
    failures: Counter[str] = field(default_factory=Counter)
    acknowledged: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Correction id to question and answer."""
    versions: set[str] = field(default_factory=set)
    """Labels of the versions that answered."""


class Caller:
    """One tenant. Its loops run until they are cancelled."""

    def __init__(self, number: int, client: Client, asked: Questions, seed: int) -> None:
        self._number, self.client, self._questions = number, client, asked
        self._rng = random.Random(f"caller:{seed}:{number}")
        self.tally = Tally()

    async def keep_asking(self) -> None:
        while True:
            fact = self._rng.randrange(FACTS)
            with contextlib.suppress(*TOLERATED):
                await self.question(self._rng.choice(self._questions.texts[fact]))
            await asyncio.sleep(ASK_S * self._rng.uniform(0.5, 1.5))

    async def question(self, text: str) -> Answer:
        """Ask, count, and look whose answer came."""
        self.tally.asked += 1
        try:
            answer = await ask(self.client.openai, text)
        except TOLERATED as error:
            self.tally.failures[type(error).__name__] += 1
            raise
        self.tally.answered += 1
        self.tally.versions.add(answer.version)
        owner = self._questions.owner(text, answer.text)
        if owner not in (None, self._number):
            self.tally.foreign.append(f"{self.client.name} asked {text!r} and was told {answer.text!r}")
        return answer

    async def keep_correcting(self) -> None:
        """One correction after the other, each posted until it is acknowledged."""
        for place in range(FACTS * PHRASINGS):
            fact, phrasing = place % FACTS, place // FACTS
            text, answer = self._questions.texts[fact][phrasing], self._questions.answers[self._number][fact]
            posted = await self._posted(text, answer, f"soak-{place}")
            self.tally.acknowledged[posted["id"]] = (text, answer)
            await asyncio.sleep(CORRECT_S * self._rng.uniform(0.5, 1.5))

    async def _posted(self, text: str, answer: str, key: str) -> dict[str, Any]:
        while True:
            try:
                return await self.client.correct(text, answer, key)
            except TOLERATED as error:
                self.tally.failures[f"correction: {type(error).__name__}"] += 1
                await asyncio.sleep(RETRY_S)


class Operator:
    """Swaps back and forth, and approves what the gate leaves to a person."""

    def __init__(self, control: Control, tenants: Sequence[str], seed: int) -> None:
        self._control, self._tenants = control, tenants
        self._rng = random.Random(f"operator:{seed}")
        self.swaps = 0
        self.refused: Counter[str] = Counter()

    async def keep_swapping(self) -> None:
        while True:
            await asyncio.sleep(SWAP_S * self._rng.uniform(0.5, 1.5))
            await self._try(self._swap(self._rng.choice(self._tenants)))

    async def keep_approving(self) -> None:
        while True:
            await self._try(self._approve())
            await asyncio.sleep(APPROVE_S)

    async def _swap(self, tenant: str) -> None:
        path = f"tenants/{tenant}/adapters/default"
        versions = (await self._control.call("GET", f"{path}/versions?limit=100"))["data"]
        known = [version for version in versions if version["status"] in ("retired", "rolled_back")]
        if known and self._rng.random() < 0.7:
            await self._control.swap(tenant, self._rng.choice(known)["id"])
        elif await self._control.stable(tenant) is not None:
            await self._control.rollback(tenant)
        else:
            return
        self.swaps += 1

    async def _approve(self) -> None:
        waiting = (await self._control.call("GET", "runs?status=awaiting_approval"))["data"]
        for run in waiting:
            await self._control.call("POST", f"runs/{run['id']}/approve")

    async def _try(self, step: Any) -> None:
        try:
            await step
        except httpx.HTTPStatusError as error:
            self.refused[str(error.response.status_code)] += 1
        except httpx.HTTPError as error:
            self.refused[type(error).__name__] += 1
