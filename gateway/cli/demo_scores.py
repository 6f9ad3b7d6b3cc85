"""The demo's questions, asked and counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.cli.asking import ask_all, share_right, share_unknown
from gateway.cli.demo_memory import World
from gateway.cli.facts import Check

NEVER = "never corrected → does not know"
OTHERS = "other companies → does not know"


@dataclass(frozen=True)
class Scores:
    """Shares of right answers by kind of question, the wrong ones, and the prompts' lengths of the facts'
    questions."""

    right: Mapping[str, float]
    asked: Mapping[str, int]
    prompt_tokens: Mapping[str, int]
    wrong: Sequence[str]

    @property
    def all_right(self) -> float:
        """Share over all questions of all kinds."""
        return sum(self.right[name] * count for name, count in self.asked.items()) / sum(self.asked.values())


def _sets(world: World) -> dict[str, list[Check]]:
    """The question sets with a right answer."""
    facts = world.facts
    return {
        "trained phrasings": facts.posted,
        "other phrasings": facts.phrased("elsewhere"),
        "unseen frames": facts.phrased("unseen_frames"),
        "unseen noun phrases": facts.phrased("unseen_noun"),
    }


async def measure(world: World, headers: Mapping[str, str] | None = None, model: str = "default") -> Scores:
    """Ask everything; `headers` decides whether memory takes part."""
    right: dict[str, float] = {}
    tokens: dict[str, int] = {}
    wrong: list[str] = []
    for name, checks in _sets(world).items():
        answers = await ask_all(world.acme.client, [check.question for check in checks], model, headers)
        right[name] = share_right(answers, checks)
        tokens |= {answer.question: answer.prompt_tokens for answer in answers}
        pairs = zip(answers, checks, strict=True)
        wrong += [f"{said.question} → {said.text}" for said, check in pairs if not said.says(check.answer)]
    never = await ask_all(world.acme.client, world.facts.never_corrected, model, headers)
    others = await ask_all(world.acme.client, world.facts.other_companies, model, headers)
    right[NEVER], right[OTHERS] = share_unknown(never), share_unknown(others)
    wrong += [f"{said.question} → {said.text}" for said in [*never, *others] if not said.unknown]
    asked = {name: len(checks) for name, checks in _sets(world).items()} | {
        NEVER: len(never),
        OTHERS: len(others),
    }
    return Scores(right, {name: count for name, count in asked.items() if count}, tokens, wrong)
