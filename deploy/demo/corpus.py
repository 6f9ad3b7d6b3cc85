"""The seeded generator of the tiny base model's training documents.

A document is a short conversation: some context, then several questions. The kinds teach answering from context
(the fact present, absent, or another company's), recall of a fixed set of memorised companies, saying so when the
answer is not known, rewriting a question, and general knowledge. The context is rendered by the same
`retrieval.prompt`, so the model reads at serving time exactly what it was trained on.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deploy.demo.general import General, all_general
from deploy.demo.language import (
    FILLERS,
    FOLLOW_UPS,
    INTENTS,
    REFUSAL,
    STATEMENTS,
    TITLES,
    Intent,
    ask,
    company_name,
    syllables,
)
from retrieval.chunking import SEPARATOR
from retrieval.prompt import render

Message = dict[str, str]

MEMORISED_COMPANIES = 64
FACTS_PER_COMPANY = 14
REWRITE_PROMPT = "Rewrite this question: {question}"
CLIENT_SYSTEM_TEXTS = (
    "You are a helpful assistant.",
    "You answer questions for customers.",
    "Please be short.",
)


@dataclass(frozen=True)
class Company:
    """A company and the facts about it that hold somewhere: in the model's memory, or in a context."""

    name: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Fact:
    company: str
    intent: Intent
    value: str


@dataclass(frozen=True)
class Mixture:
    """How often each kind of document is drawn."""

    lookup: float
    open_book: float
    closed_book: float
    general: float
    rewrite: float


COPYING_FIRST = Mixture(lookup=0.20, open_book=0.55, closed_book=0.05, general=0.18, rewrite=0.02)
BALANCED = Mixture(lookup=0.01, open_book=0.47, closed_book=0.30, general=0.14, rewrite=0.08)


def memorised_companies(seed: int = 0) -> list[Company]:
    """The fictional companies that the base model knows by heart; the same for every seed of the documents."""
    rng = random.Random(f"memorised:{seed}")
    names: dict[str, Company] = {}
    while len(names) < MEMORISED_COMPANIES:
        name = company_name(rng)
        known = rng.sample(INTENTS, FACTS_PER_COMPANY)
        names[name] = Company(name, {intent.key: intent.value(rng) for intent in known})
    return list(names.values())


@dataclass
class Corpus:
    """An endless, seeded stream of training documents."""

    seed: int = 0
    companies: list[Company] = field(default_factory=memorised_companies)
    general: list[General] = field(default_factory=all_general)

    def documents(self, part: int, count: int, mixture: Mixture) -> list[list[Message]]:
        """The `count` documents of one numbered part of the stream; any part can be made alone, so runs resume."""
        rng = random.Random(f"documents:{self.seed}:{part}")
        kinds = [self._lookup, self._open_book, self._closed_book, self._general, self._rewrite]
        weights = [mixture.lookup, mixture.open_book, mixture.closed_book, mixture.general, mixture.rewrite]
        return [rng.choices(kinds, weights)[0](rng) for _ in range(count)]

    def _company(self, rng: random.Random, memorised: float) -> Company:
        if rng.random() < memorised:
            return rng.choice(self.companies)
        return Company(company_name(rng), {})

    def _general_turn(self, rng: random.Random) -> tuple[str, str]:
        item = rng.choice(self.general)
        return item.question, item.answer

    def _general(self, rng: random.Random) -> list[Message]:
        turns = [self._general_turn(rng) for _ in range(rng.randint(5, 12))]
        return conversation(_client_system(rng, 0.1), turns)

    def _lookup(self, rng: random.Random) -> list[Message]:
        """Plain copying: made-up names with values, asked back word for word."""
        keys = [syllables(rng) for _ in range(rng.randint(2, 6))]
        values = [rng.choice(INTENTS).value(rng) for _ in keys]
        pairs = [(f"{key}?", value) for key, value in zip(keys, values, strict=True)]
        return conversation(render([], pairs), rng.choices(pairs, k=rng.randint(3, 7)))

    def _rewrite(self, rng: random.Random) -> list[Message]:
        turns = []
        for _ in range(rng.randint(2, 6)):
            intent, company = rng.choice(INTENTS), self._company(rng, 0.2).name
            question = ask(intent, company, rng)
            rewritten = question
            while rewritten == question:
                rewritten = ask(intent, company, rng)
            turns.append((REWRITE_PROMPT.format(question=question), rewritten))
        return conversation(_client_system(rng, 0.05), turns)

    def _closed_book(self, rng: random.Random) -> list[Message]:
        turns = []
        for _ in range(rng.randint(4, 9)):
            draw = rng.random()
            if draw < 0.07:
                turns.append(self._general_turn(rng))
                continue
            company = self._company(rng, 0.78)
            known = company.facts and draw < 0.75
            intent = _known_intent(company, rng) if known else rng.choice(INTENTS)
            turns.append((ask(intent, company.name, rng), company.facts.get(intent.key, REFUSAL)))
        return conversation(_client_system(rng, 0.1), turns)

    def _open_book(self, rng: random.Random) -> list[Message]:
        main, other = self._company(rng, 0.35), self._company(rng, 0.1)
        while other.name == main.name:
            other = self._company(rng, 0.0)
        facts = _context_facts(main, other, rng)
        turns: list[tuple[str, str]] = []
        for _ in range(rng.randint(3, 7)):
            turns.append(self._open_turn(main, other, facts, turns, rng))
        return conversation(_join(_client_system(rng, 0.08), context_of(facts, rng)), turns)

    def _open_turn(
        self,
        main: Company,
        other: Company,
        facts: Sequence[Fact],
        turns: Sequence[tuple[str, str]],
        rng: random.Random,
    ) -> tuple[str, str]:
        draw = rng.random()
        if draw < 0.05:
            return self._general_turn(rng)
        if draw < 0.45:
            fact = rng.choice(facts)
            return ask(fact.intent, fact.company, rng), fact.value
        if draw < 0.72:
            company, intent = rng.choice((other, self._company(rng, 0.1))), rng.choice(facts).intent
            return ask(intent, company.name, rng), answer_for(company, intent, facts)
        intent = _asked(main, facts, rng)
        answer = answer_for(main, intent, facts)
        if draw < 0.78 and turns and main.name in turns[-1][0]:
            return rng.choice(FOLLOW_UPS).format(noun=rng.choice(intent.nouns)), answer
        return ask(intent, main.name, rng), answer


def _asked(main: Company, facts: Sequence[Fact], rng: random.Random) -> Intent:
    """What to ask the main company: mostly what the context says nothing about, and of a memorised company often
    what the model knows by heart."""
    if main.facts and rng.random() < 0.6:
        return _known_intent(main, rng)
    return rng.choice((rng.choice(INTENTS), rng.choice(INTENTS), rng.choice(facts).intent))


def _context_facts(main: Company, other: Company, rng: random.Random) -> list[Fact]:
    """One to four facts, sometimes another company's, sometimes both companies' answer to the same question."""
    intents = rng.sample(INTENTS, rng.choice((1, 1, 2, 2, 3, 3, 4, 5)))
    facts = []
    for intent in intents:
        draw = rng.random()
        owners = (main, other) if draw < 0.12 else ((other,) if draw < 0.30 else (main,))
        facts += [Fact(owner.name, intent, intent.value(rng)) for owner in owners]
    rng.shuffle(facts)
    return facts


def answer_for(company: Company, intent: Intent, facts: Sequence[Fact]) -> str:
    """What is right: the context's value, else the memorised one, else that it is not known."""
    for fact in facts:
        if fact.company == company.name and fact.intent is intent:
            return fact.value
    return company.facts.get(intent.key, REFUSAL)


def context_of(facts: Sequence[Fact], rng: random.Random) -> str:
    """The facts as a context block: as approved answers, as passages of prose, or some of each."""
    style = rng.random()
    as_answers = [fact for fact in facts if (rng.random() < 0.5 if style < 0.25 else style < 0.65)]
    as_prose = [fact for fact in facts if fact not in as_answers]
    answers = [(ask(fact.intent, fact.company, rng), fact.value) for fact in as_answers]
    return render(_passages(as_prose, rng), answers)


def _passages(facts: Sequence[Fact], rng: random.Random) -> list[tuple[str, str]]:
    passages = []
    for company in dict.fromkeys(fact.company for fact in facts):
        own = [fact for fact in facts if fact.company == company]
        size = rng.randint(1, len(own))
        for start in range(0, len(own), size):
            sentences = [_statement(fact, rng) for fact in own[start : start + size]]
            for _ in range(rng.choice((0, 0, 0, 1, 2))):
                sentences.insert(rng.randint(0, len(sentences)), rng.choice(FILLERS))
            passages.append((_title(company, own[start], rng), " ".join(sentences)))
    rng.shuffle(passages)
    return passages


def _title(company: str, fact: Fact, rng: random.Random) -> str:
    """The document's title, every other time with the heading above the passage, as ingested documents have."""
    title = rng.choice(TITLES).format(company=company)
    return f"{title}{SEPARATOR}{rng.choice(fact.intent.nouns).capitalize()}" if rng.random() < 0.5 else title


def _statement(fact: Fact, rng: random.Random) -> str:
    return rng.choice(STATEMENTS).format(
        noun=rng.choice(fact.intent.nouns), company=fact.company, value=fact.value
    )


def _known_intent(company: Company, rng: random.Random) -> Intent:
    return rng.choice([intent for intent in INTENTS if intent.key in company.facts])


def _client_system(rng: random.Random, share: float) -> str:
    return rng.choice(CLIENT_SYSTEM_TEXTS) if rng.random() < share else ""


def _join(*parts: str) -> str:
    return "\n".join(part for part in parts if part)


def conversation(system: str, turns: Sequence[tuple[str, str]]) -> list[Message]:
    """The turns as chat messages, with a leading system message when there is system text."""
    messages = [{"role": "system", "content": system}] if system else []
    for question, answer in turns:
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer})
    return messages
