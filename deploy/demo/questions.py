"""Question sets that judge the tiny base model and the adapters on it, made fresh from a seed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from deploy.demo.corpus import (
    Company,
    Fact,
    Message,
    context_of,
    conversation,
    memorised_companies,
)
from deploy.demo.general import all_general
from deploy.demo.language import (
    FRAMES,
    INTENT_BY_KEY,
    INTENTS,
    REFUSAL,
    UNSEEN_FRAMES,
    Intent,
    ask,
    company_name,
)


@dataclass(frozen=True)
class Question:
    """One conversation ending in a question, and the only answer that counts as right."""

    kind: str
    messages: list[Message]
    answer: str


def fresh_questions(seed: int, count: int) -> list[Question]:
    """`count` questions of each kind about companies that no training document mentions."""
    rng = random.Random(f"questions:{seed}")
    return [question for _ in range(count) for question in _round(rng)]


def _round(rng: random.Random) -> Iterator[Question]:
    company, other = Company(company_name(rng), {}), Company(company_name(rng), {})
    intents = rng.sample(INTENTS, 5)
    facts = [Fact(company.name, intent, intent.value(rng)) for intent in intents[: rng.randint(1, 4)]]
    context, fact, absent = context_of(facts, rng), facts[0], intents[4]
    yield _asked("from context", context, ask(fact.intent, fact.company, rng), fact.value)
    yield _asked(
        "from context, unseen frame", context, in_unseen_frame(fact.intent, fact.company, rng), fact.value
    )
    yield _asked(
        "from context, unseen noun", context, with_unseen_noun(fact.intent, fact.company, rng), fact.value
    )
    yield _asked("absent fact", context, ask(absent, company.name, rng), REFUSAL)
    yield _asked("absent company", context, ask(fact.intent, other.name, rng), REFUSAL)
    yield _asked("no context", "", ask(fact.intent, company.name, rng), REFUSAL)
    yield recall_question(rng)
    item = rng.choice(all_general())
    yield _asked("general", "", item.question, item.answer)


def recall_question(rng: random.Random) -> Question:
    """Closed book: a fact of a company the base model has memorised."""
    company = rng.choice(memorised_companies())
    key = rng.choice(list(company.facts))
    return _asked("recall", "", ask(INTENT_BY_KEY[key], company.name, rng), company.facts[key])


def in_unseen_frame(intent: Intent, company: str, rng: random.Random) -> str:
    return rng.choice(UNSEEN_FRAMES).format(noun=rng.choice(intent.nouns), company=company)


def with_unseen_noun(intent: Intent, company: str, rng: random.Random) -> str:
    return rng.choice(FRAMES).format(noun=intent.unseen_noun, company=company)


def _asked(kind: str, context: str, question: str, answer: str) -> Question:
    messages = conversation(context, [(question, "")])[:-1]
    return Question(kind, messages, answer)
