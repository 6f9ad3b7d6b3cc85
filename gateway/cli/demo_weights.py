"""The demo's second half: corrections become a version, the version goes live under load, and back again."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.cli.asking import OFF, ask, ask_all, share_right
from gateway.cli.control import Control
from gateway.cli.demo_memory import World, post_the_rest
from gateway.cli.demo_scores import NEVER, OTHERS, Scores, measure
from gateway.cli.facts import Check
from gateway.cli.traffic import StraddlingStreams, Traffic

RATE = 20.0
"""Requests per second of the load that spans the run, the swaps and the unload."""
STREAMS = 6
"""Long streams kept open while the alias moves."""
RUN_SECONDS = 120.0
SWAP_MS = 1000.0
RUN_DEADLINE = 300.0
SWAP_DEADLINE = 30.0
SHOWN_STEPS = 8
SHOWN_WRONG = 6
BARS = {"trained phrasings": 0.95, "other phrasings": 0.85, "unseen frames": 0.75, NEVER: 0.85}


@contextmanager
def moved_away(weights: Path) -> Iterator[None]:
    """The base weights' file is somewhere else inside this block: nothing can read it again by its name."""
    hidden = weights.with_suffix(".away")
    weights.rename(hidden)
    try:
        yield
    finally:
        hidden.rename(weights)


class Weights:
    """Steps 3 to 9."""

    def __init__(self, world: World, control: Control, weights: Path, probes: Path) -> None:
        self._world, self._control, self._weights = world, control, weights
        self._story, self._acme = world.story, world.acme
        self._phase, self._step = ("", ""), 0
        self._probes = [json.loads(line) for line in probes.read_text(encoding="utf-8").splitlines()]
        questions = [check.question for check in world.facts.posted] + list(world.facts.undisputed)
        self._traffic = Traffic([world.acme.client, world.globex.client], questions, RATE)

    async def tell(self) -> None:
        """From the remaining corrections to the last swap."""
        pids, globex = self._control.engine_pids(), await self._globex()
        started = await self._correct()
        with moved_away(self._weights):
            self._traffic.start()
            try:
                version = await self._run_and_swap(started)
                await self._back_and_forth(version)
            finally:
                await self._traffic.stop()
        await self._report_load(pids)
        await self._judge(globex)
        await self._roll_back()

    async def _globex(self) -> list[str]:
        questions = [fact.phrasings[0] for fact in self._world.facts.facts]
        return [a.text for a in await ask_all(self._world.globex.client, questions, headers=OFF)]

    async def _correct(self) -> float:
        """Step 3: post what is left; returns when the last correction was acknowledged (time.monotonic)."""
        facts = self._world.facts
        self._story.step(3, f"{len(facts.facts)} facts corrected, {len(facts.posted)} corrections in all")
        await self._control.set_trigger(self._acme.id, len(facts.posted))
        count = await post_the_rest(self._world)
        if count < len(facts.posted):
            waiting = f"{len(facts.posted) - count} wait for a person: graft feedback review list"
            self._story.check("every correction is accepted", False, waiting)
            await self._control.set_trigger(self._acme.id, count)
        self._story.say(
            f"{count} corrections acknowledged; load of {RATE:g} requests/s from both tenants starts now"
        )
        return time.monotonic()

    async def _run_and_swap(self, started: float) -> str:
        """Steps 4 to 6: the run as it goes, its gate, and the alias moving under the load."""
        self._story.step(4, "The count trigger starts a run: LoRA on the frozen base")
        run: dict[str, Any] = {}
        async for run in self._control.follow(self._acme.id, RUN_DEADLINE):
            self._progress(run)
        self._gate_report(run)
        await self._control.wait_stable(self._acme.id, SWAP_DEADLINE)
        elapsed = time.monotonic() - started
        self._story.step(6, "The alias moves while both tenants are served")
        self._story.figure("run: train + gate + swap, under load", round(elapsed, 1), "s", RUN_SECONDS)
        version = await self._control.stable(self._acme.id)
        self._story.say(f"{self._acme.name} is served by {version}")
        return str(version)

    def _progress(self, run: Mapping[str, Any]) -> None:
        """Every phase once, and training every few steps."""
        done, phase = run["progress"], (run["phase"], run["status"])
        if phase != self._phase:
            self._phase, self._step = phase, 0
            self._story.say(f"[dim]{run['phase']}[/] {run['status']}")
        if run["phase"] != "training" or not done or done["step"] < self._step + SHOWN_STEPS:
            return
        self._step = done["step"]
        loss = "" if done["loss"] is None else f"loss {done['loss']:.3f}  "
        line = f"step {done['step']}/{done['total_steps']}  {loss}"
        self._story.say(f"[dim]training[/] {line}ETA {done['eta_seconds']:.0f} s")

    def _gate_report(self, run: Mapping[str, Any]) -> None:
        """Step 5: what the gate saw. The version's being served is checked afterwards, whoever approved it."""
        report, costs = run["report"], run["costs"]
        self._story.step(5, "Gated through the running engine, beside what is there")
        for check in report.get("checks", []):
            self._story.say(f"{check['name']}: [bold]{check['verdict']}[/]  [dim]{check['says']}[/]")
        self._story.check(
            "the candidate passes its gate", report.get("verdict") == "pass", str(run.get("error") or "")
        )
        self._story.figure("training", round(costs.get("training_seconds", 0.0), 1), "s")
        self._story.figure("tokens trained on", costs.get("training_tokens", 0), "tokens")
        learned, of = len(report.get("learned", [])), f"of {len(self._world.facts.posted)}"
        self._story.figure("corrections learned", learned, of, at_most=False)

    async def _back_and_forth(self, version: str) -> None:
        """Still under load, and with streams open across both flips: roll back, wait for the unload, swap forward."""
        story, streams = self._story, self._straddling()
        back, on_version = await streams.across(lambda: self._control.rollback(self._acme.id))
        await self._control.wait_unloaded(SWAP_DEADLINE)
        story.check("rolled back, drained, removed from the engine", not await self._control.resident())
        forth, on_base = await streams.across(lambda: self._control.swap(self._acme.id, version))
        held = [s for s in on_version if s.version == version] + [s for s in on_base if s.version == "base"]
        story.check(
            "streams open across the flips end on the version they began with",
            len(held) == 2 * STREAMS,
            f"{len(held)} streams; {', '.join(sorted({s.version for s in on_version}))} until the first flip, "
            f"{', '.join(sorted({s.version for s in on_base}))} until the second",
        )
        pure = await streams.unmixed(on_version, "base") + await streams.unmixed(on_base, version)
        story.check(
            "no stream mixes versions",
            pure == 2 * STREAMS,
            f"{pure} follow their own version's answer, asked again",
        )
        story.figure("rollback under load, until drained", round(back["total_ms"], 1), "ms")
        story.figure("swap under load", round(forth["total_ms"], 1), "ms", SWAP_MS)

    def _straddling(self) -> StraddlingStreams:
        questions = [fact.phrasings[0] for fact in self._world.facts.facts][:STREAMS]
        return StraddlingStreams(self._traffic, self._acme.client, questions, SWAP_DEADLINE)

    async def _report_load(self, pids: set[int]) -> None:
        load = self._traffic.load
        versions = ", ".join(f"{name} {count}" for name, count in sorted(load.versions.items()))
        self._story.say(f"{load.answered} answers: {versions}")
        detail = load.failures[0] if load.failures else f"{load.sent} sent"
        self._story.check("no request failed", not load.failures and load.answered == load.sent, detail)
        self._story.figure("failed requests", len(load.failures), "", 0)
        self._story.figure("requests that the gateway sent again", await self._retries(), "")
        same = self._control.engine_pids() == pids
        self._story.check(
            "the engine's processes are the same, EngineCore included", same, f"{len(pids)} processes"
        )
        self._story.check(
            "the base weights' file was away from before the load until after the unload",
            self._weights.exists(),
        )

    async def _retries(self) -> float:
        """How often the gateway had to ask an engine again, by its own metrics."""
        metrics = (await self._world.data.get("/metrics")).text.splitlines()
        return sum(float(line.split()[1]) for line in metrics if line.startswith("graft_retries_total"))

    async def _judge(self, globex: Sequence[str]) -> None:
        """Steps 7 and 8: what the weights know alone, and what memory still adds."""
        story = self._story
        story.step(7, "Memory off: what the weights have learned")
        base, mine = await measure(self._world, OFF, "base"), await measure(self._world, OFF)
        for name, least in BARS.items():
            story.bar(name, mine.right[name], least)
        story.bar("unseen noun phrases", mine.right["unseen noun phrases"], 0.0, "reported only")
        drop = base.right[OTHERS] - mine.right[OTHERS]
        story.check(
            f"{OTHERS}: {mine.right[OTHERS]:.0%}",
            drop <= 0.03 + 1e-9,
            f"base {base.right[OTHERS]:.0%}, within 3 points",
        )
        await self._probe()
        same = sum(a == b for a, b in zip(globex, await self._globex(), strict=True))
        story.check(
            f"{self._world.globex.name} is unchanged", same == len(globex), f"{same} of {len(globex)} answers"
        )
        await self._with_memory(mine)

    async def _probe(self) -> None:
        general = [probe for probe in self._probes if probe["kind"] == "general"]
        checks = [
            Check(question=probe["messages"][-1]["content"], answer=probe["answer"]) for probe in general
        ]
        asked = [check.question for check in checks]
        base = share_right(await ask_all(self._acme.client, asked, "base", OFF), checks)
        mine = share_right(await ask_all(self._acme.client, asked, headers=OFF), checks)
        detail = f"{base:.1%} → {mine:.1%} of {len(checks)}"
        self._story.figure("base probes, points lost", round(100 * (base - mine), 2), "", 2.0)
        self._story.check("base probes stay within 2 points", base - mine <= 0.02 + 1e-9, detail)

    async def _with_memory(self, off: Scores) -> None:
        story = self._story
        story.step(8, "Memory on: learned facts need no memory any more")
        before, after = await measure(self._world, model="base"), await measure(self._world)
        for name, count in after.asked.items():
            share, least = after.right[name], before.right[name] - 1 / count
            detail = f"before {before.right[name]:.0%}; one question of {count} may flip"
            story.check(f"{name}: {share:.0%} with memory", share >= least - 1e-9, detail)
        now, then = after.all_right, before.all_right
        story.check(f"all of them together: {now:.1%}, not lower", now >= then - 1e-9, f"before {then:.1%}")
        for line in after.wrong[:SHOWN_WRONG]:
            story.say(f"[dim]wrong with memory: {line}[/]")
        posted = [check.question for check in self._world.facts.posted]
        shorter = [q for q in posted if after.prompt_tokens[q] < before.prompt_tokens[q]]
        saved = sum(before.prompt_tokens[q] - after.prompt_tokens[q] for q in posted)
        story.check(
            "their prompts are shorter",
            bool(shorter),
            f"{len(shorter)} of {len(posted)}, {saved} tokens fewer",
        )
        story.figure("prompts without memory", len(shorter), f"of {len(posted)}", at_most=False)

    async def _roll_back(self) -> None:
        """Step 9: one call back, with memory as it was, and forward again."""
        story, fact = self._story, self._world.facts.facts[0]
        story.step(9, "Rollback in one call, and forward again")
        version = str(await self._control.stable(self._acme.id))
        await self._control.rollback(self._acme.id)
        bare, full = (
            await ask(self._acme.client, fact.phrasings[0], headers=OFF),
            await ask(self._acme.client, fact.phrasings[0]),
        )
        story.quote(
            self._acme.name, fact.phrasings[0], full.text, f"{full.version}, memory: {', '.join(full.memory)}"
        )
        story.check(
            "the old answers are back", bare.version == "base" and not bare.says(fact.answer), bare.text
        )
        story.check("with their memory", full.says(fact.answer) and bool(full.memory))
        await self._control.swap(self._acme.id, version)
        forward = await ask(self._acme.client, fact.phrasings[0], headers=OFF)
        story.check("forward again", forward.says(fact.answer) and forward.version == version, forward.text)
