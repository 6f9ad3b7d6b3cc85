import math

import pytest

from adapters.divergence import divergence, kl
from adapters.testing import FakeEngine


def logs(**odds: float) -> dict[str, float]:
    return {token: math.log(value) for token, value in odds.items()}


def test_whole_distributions_give_the_whole_divergence() -> None:
    base, version = {"a": 0.5, "b": 0.3, "c": 0.2}, {"a": 0.2, "b": 0.3, "c": 0.5}
    exact = sum(p * math.log(p / version[token]) for token, p in base.items())
    assert kl(logs(**base), logs(**version)) == pytest.approx(exact, abs=1e-4)


def test_what_is_not_told_apart_never_adds() -> None:
    base, version = {"a": 0.5, "b": 0.3, "c": 0.2}, {"a": 0.2, "b": 0.3, "c": 0.5}
    assert 0 < kl(logs(a=0.5, b=0.3), logs(a=0.2, c=0.5)) <= kl(logs(**base), logs(**version))


def test_nothing_in_common_is_far_apart() -> None:
    assert kl(logs(a=0.99), logs(b=0.99)) >= 0.0
    assert kl(logs(a=0.9, b=0.05), logs(a=0.01, c=0.9)) > 2.0


async def test_a_version_that_answers_like_the_base_is_at_no_distance() -> None:
    engine = FakeEngine()
    prompts = [[{"role": "user", "content": str(number)}] for number in range(5)]
    for name in ("ver_1", "ver_2"):
        await engine.load(name, None)  # type: ignore[arg-type]
    engine.inert.add("ver_1")
    assert (await divergence(engine, "ver_1", prompts)).worst == 0.0
    acts = await divergence(engine, "ver_2", prompts)
    assert (acts.prompts, acts.mean > 0.1) == (5, True)


async def test_without_anchors_there_is_nothing_to_measure() -> None:
    with pytest.raises(ValueError, match="anchors"):
        await divergence(FakeEngine(), "ver_1", [])
