"""What a rollout has shown so far: both arms, every signal's effect with its interval, and a verdict; of a shadow, how
alike the answers were."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.evidence import effect
from adapters.rollout import Counts, Signal, StepCounts
from adapters.types import Rollout, RolloutKind
from gateway import signals
from training.tables import interactions

COMPARED = 1000
"""Newest answers of a shadow that are compared."""
SHOWN = 20
"""Of those that differ, the newest are shown."""
LEAST = 50
"""Units of each arm below which no verdict is given."""
ARMS = ("stable", "candidate")
Document = dict[str, Any]


async def report(engine: AsyncEngine, rollout: Rollout, offered: int | None = None) -> Document:
    """As the admin API shows it. offered: prompts that were to be shadowed; None: that is not known."""
    if rollout.kind is RolloutKind.SHADOW:
        found = await _shadow(engine, rollout)
        reached = round(rollout.shares[-1] * found["answers"] / offered, 2) if offered else None
        return {"offered": offered, "reached_share": reached, **found}
    async with engine.connect() as connection:
        seen = await signals.read_steps(connection, rollout)
    return compared(seen, rollout.plan.alpha, ("a", "b") if rollout.kind is RolloutKind.AB else ARMS)


def compared(seen: Sequence[StepCounts], alpha: float, names: tuple[str, str] = ARMS) -> Document:
    """Intervals hold for all signals together, at every look, with probability 1 - alpha. Steps are not pooled, because
    their shares differ: the effects are the last one's."""
    last = seen[-1] if seen else StepCounts(0.5)
    effects = {
        signal.value: _effect(last.stable, last.candidate, signal, alpha / len(Signal)) for signal in Signal
    }
    arms = [each.stable for each in seen], [each.candidate for each in seen]
    return {
        "arms": {name: _arm(arm) for name, arm in zip(names, arms, strict=True)},
        "effects": effects,
        "verdict": verdict(effects),
    }


def verdict(effects: Mapping[str, Mapping[str, Any] | None]) -> str:
    """`worse` or `better` (in one signal at least, and in none the other way), `mixed`, `no difference shown`, or
    `too few`."""
    known = [each for each in effects.values() if each is not None]
    if not known:
        return "too few"
    worse, better = any(each["low"] > 0 for each in known), any(each["high"] < 0 for each in known)
    if worse and better:
        return "mixed"
    return "worse" if worse else "better" if better else "no difference shown"


def _effect(stable: Counts, candidate: Counts, signal: Signal, alpha: float) -> Document | None:
    if min(stable.units, candidate.units) < LEAST:
        return None
    pair = [(each.bad.get(signal, 0), each.units) for each in (stable, candidate)]
    found = effect(pair[0], pair[1], alpha)
    if found is None:
        return None
    return {
        "difference": round(found.difference, 4),
        "low": round(found.low, 4),
        "high": round(found.high, 4),
    }


def _arm(steps: Sequence[Counts]) -> Document:
    bad = {signal.value: sum(each.bad.get(signal, 0) for each in steps) for signal in Signal}
    return {"units": sum(each.units for each in steps), "bad": bad}


async def _shadow(engine: AsyncEngine, rollout: Rollout) -> Document:
    made = interactions.c
    mine = made.rollout == rollout.reference()
    totals = sa.select(
        sa.func.count().label("answers"), sa.func.sum(made.usage["total_tokens"].as_integer()).label("tokens")
    ).where(mine)
    newest = sa.select(interactions).where(mine).order_by(made.at.desc()).limit(COMPARED)
    async with engine.connect() as connection:
        total = (await connection.execute(totals)).one()
        rows = (await connection.execute(newest)).mappings().all()
    pairs = [(str(row["detail"]["production"]), str(row["response"])) for row in rows]
    alike = [overlap(*pair) for pair in pairs]
    different = [row for row, score in zip(rows, alike, strict=True) if score < 1]
    return {
        "answers": total.answers,
        "tokens": int(total.tokens or 0),
        "budget_tokens": rollout.budget_tokens,
        "compared": len(rows),
        "same": sum(score == 1 for score in alike),
        "mean_overlap": round(sum(alike) / len(alike), 4) if alike else None,
        "flaws": dict(Counter(row["flaw"] for row in rows if row["flaw"])),
        "mean_ms": _mean([row["latency_ms"] for row in rows]),
        "production_mean_ms": _mean([row["detail"]["production_ms"] for row in rows]),
        "different": [
            {
                "response_id": row["detail"]["of"],
                "messages": row["messages"],
                "production": row["detail"]["production"],
                "candidate": row["response"],
            }
            for row in different[:SHOWN]
        ],
    }


def overlap(one: str, other: str) -> float:
    """F1 over words, without case and punctuation; 1.0 is the same words as often."""
    first, second = (Counter(re.findall(r"\w+", text.lower())) for text in (one, other))
    if not first and not second:
        return 1.0
    common = (first & second).total()
    return 2 * common / (first.total() + second.total())


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 1) if values else None
