"""A run's frozen settings. Pure; every field can be overridden by the tenant's policy."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from training.errors import InvalidRecipe


@dataclass(frozen=True)
class Recipe:
    """Defaults suit the shipped tiny base model; a base of billions of parameters wants lr 1e-4 to 2e-4.

    Sources: rank, alpha, rate and steps from our own study of twelve facts (docs/log.md); "all linear layers"
    and the larger rate for LoRA from Schulman et al., "LoRA Without Regret" (2025).
    """

    rank: int = 16
    alpha: int = 32
    learning_rate: float = 2e-3
    strength: float = 0.85
    """Share of the learned change that is kept: a step back towards the base model gives up next to nothing of
    what was learned and most of what was forgotten (Wortsman et al., "Robust fine-tuning of zero-shot models",
    2022; our figures in docs/log.md)."""
    warmup_steps: int = 4
    min_steps: int = 44
    """Steps of a run on few facts."""
    rows_per_fact: int = 40
    """Correction rows for each fact, as far as `max_steps` allows: every version is trained from the base on the whole
    record, so a run takes longer the more a tenant has corrected (docs/generations.md)."""
    max_steps: int = 240
    batch_size: int = 32
    max_grad_norm: float = 1.0
    replay_share: float = 0.56
    """Rows of each batch that are not corrections: questions that nobody corrected and the base's anchors."""
    unknown_share: float = 0.25
    """Of the replayed rows, those that are the tenant's own uncorrected questions, as far as there are
    any."""
    contrast_share: float = 0.4
    """Of the replayed rows, corrected questions about another name, as far as there are any."""
    context_share: float = 0.3
    """Of all rows, those asked with the tenant's passages in the prompt, as requests are served: without them
    an adapter learns to answer only where nothing else is said."""
    rewrites: int = 8
    """Rewritten phrasings wanted per training question."""
    near_misses: int = 8
    """Questions per fact about another name."""
    validation_steps: int = 11
    """Steps between looks at the validation loss."""
    patience: int = 2
    """Looks without improvement after which training stops."""
    bf16: bool = True
    """Mixed precision; the adapter's own weights stay float32."""
    seed: int = 0

    def as_record(self) -> dict[str, Any]:
        return asdict(self)

    def steps(self, facts: int) -> int:
        """Steps of a run on a record of this many facts."""
        corrections = max(1, self.batch_size - round(self.batch_size * self.replay_share))
        wanted = math.ceil(facts * self.rows_per_fact / corrections)
        return min(self.max_steps, max(self.min_steps, wanted))


MAX_RANK = 256
_RANGES: Mapping[str, tuple[float, float]] = {
    "rank": (1, MAX_RANK),
    "alpha": (1, 1024),
    "learning_rate": (1e-7, 0.1),
    "strength": (0.05, 1),
    "warmup_steps": (0, 10_000),
    "min_steps": (1, 100_000),
    "rows_per_fact": (1, 10_000),
    "max_steps": (1, 100_000),
    "batch_size": (1, 1024),
    "max_grad_norm": (0.001, 100),
    "replay_share": (0.1, 0.95),
    "unknown_share": (0, 0.5),
    "contrast_share": (0, 0.5),
    "context_share": (0, 1),
    "rewrites": (0, 64),
    "near_misses": (0, 64),
    "validation_steps": (1, 10_000),
    "patience": (1, 1000),
    "seed": (0, 2**31 - 1),
}


def recipe_of(*overrides: Mapping[str, Any], max_rank: int = MAX_RANK) -> Recipe:
    """The default recipe with each mapping laid over the last: the policy's, then the run's own.

    max_rank: what the engines accept, where that is known. Raises InvalidRecipe.
    """
    recipe = Recipe()
    known = {field.name: field.type for field in fields(Recipe)}
    for override in overrides:
        if unknown := set(override) - set(known):
            raise InvalidRecipe(f"unknown recipe fields: {', '.join(sorted(unknown))}")
        recipe = replace(recipe, **{name: _checked(name, value) for name, value in override.items()})
    if recipe.rank > max_rank:
        raise InvalidRecipe(f"rank {recipe.rank} is over the engines' limit of {max_rank}")
    return recipe


def usable(override: Mapping[str, Any]) -> dict[str, Any]:
    """An override without the fields that `recipe_of` refuses, which a policy may hold that was stored before it was
    checked."""
    return {name: value for name, value in override.items() if _is_valid(name, value)}


def _is_valid(name: str, value: Any) -> bool:
    try:
        recipe_of({name: value})
    except InvalidRecipe:
        return False
    return True


def _checked(name: str, value: Any) -> Any:
    default = getattr(Recipe, name)
    if isinstance(default, bool) or isinstance(value, bool):
        if type(value) is not type(default):
            raise InvalidRecipe(f"{name} must be {type(default).__name__}")
        return value
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidRecipe(f"{name} must be {type(default).__name__}")
    if isinstance(default, int) and value != int(value):
        raise InvalidRecipe(f"{name} must be {type(default).__name__}")
    low, high = _RANGES[name]
    if not low <= value <= high:
        raise InvalidRecipe(f"{name} must be between {low:g} and {high:g}")
    return type(default)(value)
