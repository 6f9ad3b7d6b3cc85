"""A tenant's policy: one document that says what its requests may cost, use, leave behind and set in motion.

Every field has a default, so that `{}` is a whole policy and a stored document survives new fields.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from adapters.rollout import Plan
from adapters.types import DEFAULT_ADAPTER, Check
from training.errors import InvalidRecipe
from training.recipe import recipe_of, usable
from training.types import GatePolicy, LearningPolicy, Logging, ScreeningPolicy, TriggerPolicy


class Part(BaseModel):
    """Unknown keys are refused: a typing mistake in a policy must not silently mean the default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Caps(Part):
    """What a tenant, or one key of it, may use, over all workers. None: unlimited."""

    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_day: int | None = Field(default=None, ge=1)
    """Prompt and completion together, from midnight to midnight UTC."""
    concurrency: int | None = Field(default=None, ge=1)

    @property
    def unlimited(self) -> bool:
        return (
            self.requests_per_minute is None
            and self.tokens_per_minute is None
            and self.tokens_per_day is None
            and self.concurrency is None
        )


NO_CAPS = Caps()


class Limits(Caps):
    """A tenant's."""

    weight: float = Field(default=1.0, ge=0.01, le=100.0)
    """Its part of a busy engine, in proportion to the other tenants' weights."""


class Retrieval(Part):
    """How the tenant's own documents take part in answers."""

    enabled: bool = True
    k: int = Field(default=3, ge=0, le=50)
    """Passages a request may use."""
    mode: Literal["optional", "required"] = "optional"
    """When retrieval fails: `optional` answers without it and says so, `required` answers 503."""
    deadline_ms: int = Field(default=1500, ge=1, le=60_000)
    """For passages and memory together; generous, because a late memory is a wrong answer."""


class Memory(Part):
    enabled: bool = True


class Responses(Part):
    """What `/v1/responses` keeps for a client that does not say `store: false`."""

    retention_days: float = Field(default=30, ge=0, le=366)
    """0: nothing is kept, whatever a client says."""


class Triggers(Part):
    """See `training.types.TriggerPolicy`."""

    count: int = Field(default=TriggerPolicy.count, ge=1)
    cooldown_seconds: float = Field(default=TriggerPolicy.cooldown_seconds, ge=0)
    debounce_seconds: float = Field(default=TriggerPolicy.debounce_seconds, ge=0)


class Gate(Part):
    """See `training.types.GatePolicy`. Shares are between 0 and 1."""

    min_improvement: float = Field(default=GatePolicy.min_improvement, ge=0, le=1)
    significance: float = Field(default=GatePolicy.significance, gt=0, lt=1)
    max_regression: float = Field(default=GatePolicy.max_regression, ge=0, le=1)
    max_length_growth: float = Field(default=GatePolicy.max_length_growth, ge=0)


class Learning(Part):
    """What the learner follows; stored a second time where the learner reads it (`learning_policies`)."""

    triggers: Triggers = Triggers()
    gate: Gate = Gate()
    approval: Literal["auto", "manual"] = "auto"
    recipe: dict[str, Any] = Field(default_factory=dict)
    """Overrides of the defaults, by the rules of `training.recipe`."""

    @field_validator("recipe")
    @classmethod
    def _can_be_run(cls, recipe: dict[str, Any]) -> dict[str, Any]:
        try:
            recipe_of(recipe)
        except InvalidRecipe as error:
            raise ValueError(str(error)) from error
        return recipe

    def record(self) -> LearningPolicy:
        """The same as the training package's noun, but for `screening`, which is a part of its own here."""
        return LearningPolicy(
            triggers=TriggerPolicy(**self.triggers.model_dump()),
            gate=GatePolicy(**self.gate.model_dump()),
            approval=self.approval,
            recipe=dict(self.recipe),
        )


class Screening(Part):
    """See `training.types.ScreeningPolicy`."""

    secrets: Literal["quarantine", "redact"] = "quarantine"
    pii: Literal["quarantine", "redact", "allow"] = "quarantine"
    max_characters: int = Field(default=ScreeningPolicy.max_characters, ge=1, le=100_000)
    contributor_share: float = Field(default=ScreeningPolicy.contributor_share, gt=0, le=1)
    contributors: int = Field(default=ScreeningPolicy.contributors, ge=1)
    contributor_count: int = Field(default=ScreeningPolicy.contributor_count, ge=1)

    def record(self) -> ScreeningPolicy:
        """The same as the training package's noun."""
        return ScreeningPolicy(**self.model_dump())


class VersionCheck(Part):
    """What every version of an adapter must say before it takes over, without memory or passages."""

    question: str = Field(min_length=1, max_length=2000)
    contains: str = Field(min_length=1, max_length=500, pattern=r"\S")
    """A part of the right answer; case and spacing do not count."""
    adapter: str = DEFAULT_ADAPTER


class Rollout(Part):
    """How an approved version takes over. The single step 100 puts it live at once."""

    checks: tuple[VersionCheck, ...] = Field(default=(), max_length=32)
    """Asked of the loaded version, on each replica, before any alias moves to it; one that fails rejects the version.
    A rollback is not held up by them."""
    steps: tuple[int, ...] = (100,)
    """Shares of the adapter's traffic in percent, rising to 100."""
    min_requests: int = Field(default=Plan.min_requests, ge=1)
    """What the candidate must have answered in a step before the next; the requests of one session, or of one user,
    count once."""
    step_seconds: float = Field(default=Plan.step_seconds, ge=0)
    """Shortest time of a step."""
    max_step_seconds: float = Field(default=Plan.max_step_seconds, gt=0)
    """A step that would take longer at the adapter's traffic is skipped."""
    watch_seconds: float = Field(default=Plan.watch_seconds, ge=0)
    """How long a version that took over step by step may still be rolled back by itself."""
    false_abort: float = Field(default=Plan.alpha, gt=0, le=0.5)
    """Chance that a candidate which is no worse is rolled back."""
    webhook: str | None = Field(default=None, max_length=2048, pattern=r"^https?://[!-~]+$")
    """Told when a rollout is promoted or rolled back, when a version does not pass its gate or is rejected on its way,
    when somebody rolls back, and when anything waits for a person."""

    @model_validator(mode="after")
    def _rising_to_all(self) -> "Rollout":
        rising = all(low < high for low, high in zip(self.steps, self.steps[1:], strict=False))
        if not self.steps or self.steps[0] < 1 or self.steps[-1] != 100 or not rising:
            raise ValueError("steps must rise from at least 1 to 100")
        if self.max_step_seconds < self.step_seconds:
            raise ValueError("max_step_seconds must not be less than step_seconds")
        return self

    @property
    def at_once(self) -> bool:
        return len(self.steps) == 1

    def checks_of(self, adapter: str) -> tuple[Check, ...]:
        """The same as the adapters package's noun."""
        return tuple(Check(each.question, each.contains) for each in self.checks if each.adapter == adapter)

    def plan(self) -> Plan:
        """The same as the adapters package's noun."""
        return Plan(
            self.steps,
            self.min_requests,
            self.step_seconds,
            self.max_step_seconds,
            self.watch_seconds,
            self.false_abort,
        )


class Retention(Part):
    """Which versions keep their files. What an alias, a rollback, a pin, a run or a later version needs always does."""

    versions: int = Field(default=10, ge=1)
    """The newest of each adapter, whatever became of them."""
    days: float = Field(default=30, ge=0, le=3660)
    """Younger ones are kept."""


class Policy(Part):
    """The whole document, as `tenants.policy` holds it and the admin API takes it."""

    limits: Limits = Limits()
    retrieval: Retrieval = Retrieval()
    memory: Memory = Memory()
    responses: Responses = Responses()
    logging: Logging = Logging.FULL
    screening: Screening = Screening()
    learning: Learning = Learning()
    rollout: Rollout = Rollout()
    retention: Retention = Retention()

    @classmethod
    def stored(cls, document: Mapping[str, Any]) -> tuple[Self, Sequence[str]]:
        """A document as an older release may have stored it, and what this one refuses in it. Such a field has its
        default, so that the rest stays in force."""
        try:
            return cls.model_validate(document), ()
        except ValidationError as error:
            problems = error.errors(include_url=False)
        kept = deepcopy(dict(document))
        for problem in problems:
            _leave_out(kept, problem["loc"])
        policy, more = (cls(), ()) if kept == document else cls.stored(kept)
        return policy, (*(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems), *more)


def _leave_out(document: dict[str, Any], place: tuple[int | str, ...]) -> None:
    """Of a recipe only what is wrong in it; of a list all of it."""
    inside: Any = document
    for step, below in pairwise(place):
        if not isinstance(inside.get(step), dict) or isinstance(below, int):
            inside.pop(step, None)
            return
        inside = inside[step]
    last = place[-1]
    if place == ("learning", "recipe") and isinstance(inside[last], dict):
        inside[last] = usable(inside[last])
    else:
        inside.pop(last, None)
