"""The facts file of `graft demo`: what one company knows, how people ask for it, and what must stay unknown."""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class FactsError(Exception):
    """The file cannot be used; the message says where and why."""


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Check(Part):
    question: str
    answer: str


class Handbook(Part):
    text: str = Field(min_length=1, description="Markdown that the company ingests")
    checks: tuple[Check, ...] = Field(min_length=1, description="questions that the handbook answers")


class Fact(Part):
    """One fact: what is posted as corrections, and the phrasings that nobody posts."""

    answer: str = Field(min_length=1)
    phrasings: tuple[str, ...] = Field(min_length=2)
    elsewhere: tuple[str, ...] = ()
    unseen_frames: tuple[str, ...] = ()
    unseen_noun: tuple[str, ...] = ()


class FactsFile(Part):
    company: str
    rival: str
    rival_answer: str = Field(description="what the rival says to the first fact's question")
    handbook: Handbook
    facts: tuple[Fact, ...] = Field(min_length=2)
    undisputed: tuple[str, ...] = Field(
        default=(), description="asked in everyday traffic, corrected by nobody"
    )
    never_corrected: tuple[str, ...] = Field(
        default=(), description="asked only at the end; must stay unknown"
    )
    other_companies: tuple[str, ...] = ()
    near_misses: tuple[str, ...] = Field(default=(), description="close to the first fact, but not it")

    @property
    def posted(self) -> list[Check]:
        """Every correction that the demo posts."""
        return [Check(question=text, answer=fact.answer) for fact in self.facts for text in fact.phrasings]

    def phrased(self, kind: str) -> list[Check]:
        """The phrasings of one kind (`elsewhere`, `unseen_frames`, `unseen_noun`) with their answers."""
        return [
            Check(question=text, answer=fact.answer) for fact in self.facts for text in getattr(fact, kind)
        ]


def load(path: Path) -> FactsFile:
    """Read and check a facts file. Raises FactsError with the reason in words."""
    try:
        return FactsFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise FactsError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise FactsError(f"{path} is not YAML: {error}") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise FactsError(f"{path}: {problems}") from error
