"""Half an hour of everything at once: five tenants ask, correct, learn and swap while processes are killed at random.

SOAK_MINUTES (30): how long. SOAK_SEED (1): of the kills and of what is asked.
"""

import asyncio
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from tests.bench.report import Figure, number, print_rows, verdict, write_json
from tests.bench.soak_bounds import Held, look
from tests.bench.soak_figures import Asked, at_least, at_most, bounds, happened
from tests.bench.soak_load import TOLERATED, Caller, Operator, questions
from tests.bench.study_house import House, house

ROOT = Path(__file__).parents[2]
TENANTS = 5
KILL_EVERY_S = 20.0
WARM_UP_S = 20.0
LOOK_EVERY_S = 10.0
REST_SECONDS = 900.0
"""What is under way when the load ends may take so long to come to rest."""
KEPT_VERSIONS = 3
LEARN_FROM = 8
"""Corrections that start a run."""
POLICY: dict[str, Any] = {
    "learning": {
        "triggers": {"count": LEARN_FROM, "cooldown_seconds": 5, "debounce_seconds": 0},
        "gate": {"max_regression": 1.0, "max_length_growth": 10.0},
        "recipe": {"min_steps": 10, "max_steps": 16, "validation_steps": 8, "rewrites": 1, "near_misses": 2},
    },
    "retention": {"versions": KEPT_VERSIONS, "days": 0},
}
"""Short runs and a gate that lets them through: what is tried here is that they survive, not how well they teach."""
AWAY = (*TOLERATED, OSError, RedisError, SQLAlchemyError)


def study() -> bool:
    """Whether nothing was lost, mixed up or left behind."""
    minutes, seed = float(os.environ.get("SOAK_MINUTES", "30")), int(os.environ.get("SOAK_SEED", "1"))
    directory = Path(tempfile.mkdtemp(prefix="graft-soak-"))
    soak = asyncio.run(_soaked(directory, minutes * 60, seed))
    figures = soak.figures()
    cells = [(f.name, f"{number(f.ours)} {f.unit}".strip(), f.bound, verdict(f.met)) for f in figures]
    print_rows(
        f"soak: {minutes:g} minutes, {TENANTS} tenants", ("figure", "measured", "target", "met"), cells
    )
    for line in soak.told():
        print(line)
    document = {
        "figures": [figure.as_json() for figure in figures],
        "looks": [asdict(held) for held in soak.looks],
    }
    write_json(ROOT / ".graft" / "studies" / "soak.json", document)
    met = all(figure.met is not False for figure in figures)
    if met:
        shutil.rmtree(directory)
    else:
        print(f"data and logs are in {directory}")
    return met


async def _soaked(directory: Path, seconds: float, seed: int) -> "Soak":
    async with house(directory) as here:
        soak = Soak(here, seconds, seed)
        await soak.run()
        return soak


class Soak:
    """The load, the kills, and what was seen."""

    def __init__(self, here: House, seconds: float, seed: int) -> None:
        self._house, self._seconds, self._seed = here, seconds, seed
        self._rng = random.Random(f"kills:{seed}")
        self._callers: list[Caller] = []
        self._operator: Operator
        self.kills: Counter[str] = Counter()
        self.looks: list[Held] = []
        self.lost: list[str] = []
        self.silent: list[str] = []
        self.runs: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.rested = False
        self.asked = 1

    async def run(self) -> None:
        asked = questions(TENANTS, self._seed)
        for n in range(TENANTS):
            client = await self._house.tenant(f"Soak {n + 1}", POLICY)
            self._callers.append(Caller(n, client, asked, self._seed))
        self._operator = Operator(self._house.control, [c.client.id for c in self._callers], self._seed)
        loops = [loop() for caller in self._callers for loop in (caller.keep_asking, caller.keep_correcting)]
        loops += [self._operator.keep_swapping(), self._kill(), self._keep_looking()]
        approving = asyncio.create_task(self._operator.keep_approving())
        tasks = [asyncio.create_task(loop) for loop in loops]
        done, _ = await asyncio.wait(tasks, timeout=self._seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()
        await self._rest()
        approving.cancel()
        self.asked = max(1, sum(caller.tally.asked for caller in self._callers))
        await self._verify()

    async def _kill(self) -> None:
        """Now and then, SIGKILL to one process, or to one that it has started."""
        await asyncio.sleep(WARM_UP_S)
        while True:
            name, leader = self._rng.choice(sorted(self._leaders().items()))
            try:
                family = [leader, *(child.pid for child in psutil.Process(leader).children(recursive=True))]
                os.kill(self._rng.choice(family), signal.SIGKILL)
                self.kills[name] += 1
            except (psutil.NoSuchProcess, ProcessLookupError):
                pass
            await asyncio.sleep(self._rng.uniform(0.5, 1.5) * KILL_EVERY_S)

    def _leaders(self) -> Mapping[str, int]:
        """Process ids by name: everything but the supervisor, which is this study's own process."""
        supervisor = self._house.system.supervisor
        running = {name: process.pid for name, process in supervisor.processes.items()}
        return {**running, "guardian": supervisor.guardian.pid}

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                self.looks.append(await look(self._house))
            except AWAY:
                continue

    async def _rest(self) -> None:
        """No new runs; wait until those under way have ended and nothing is owed any more."""
        until = time.monotonic() + REST_SECONDS
        quiet = POLICY | {"learning": {**POLICY["learning"], "triggers": {"count": 1_000_000}}}
        told: set[str] = set()
        while time.monotonic() < until and not self.rested:
            await asyncio.sleep(2.0)
            try:
                for caller in self._callers:
                    if caller.client.id not in told:
                        await self._house.control.call("PUT", f"tenants/{caller.client.id}/policy", quiet)
                        told.add(caller.client.id)
                held = await look(self._house)
            except AWAY:
                continue
            owed = held.active_runs or held.rows["outbox"] or held.stream or held.pending or held.leases
            ready = all(p.ready.is_set() for p in self._house.system.supervisor.processes.values())
            self.rested = ready and not owed and held.kept_versions <= TENANTS * (KEPT_VERSIONS * 2 + 1)
            self.rested = self.rested and held.resident <= TENANTS
            self.looks.append(held)

    async def _verify(self) -> None:
        """Every acknowledged correction is in the record, and answers."""
        for caller in self._callers:
            for correction_id, (question, answer) in caller.tally.acknowledged.items():
                try:
                    await self._look_up(caller, correction_id, question, answer)
                except TOLERATED as error:
                    self.silent.append(f"{caller.client.name}: {question}: {error!r}")
        for caller in self._callers:
            runs = (await self._house.control.call("GET", f"runs?tenant_id={caller.client.id}&limit=200"))[
                "data"
            ]
            self.runs.update(run["status"] for run in runs)
            self.reasons.update(run["error"] for run in runs if run["status"] == "failed")

    async def _look_up(self, caller: Caller, correction_id: str, question: str, answer: str) -> None:
        found = (await caller.client.http.get(f"/v1/feedback/{correction_id}")).json()
        if (found.get("status"), found.get("correction")) != ("accepted", answer):
            self.lost.append(f"{caller.client.name}: {correction_id} {found}")
        said = await caller.question(question)
        if not said.memory and not said.says(answer):
            self.silent.append(f"{caller.client.name}: {question} → {said.text} by {said.version}")

    def figures(self) -> Sequence[Figure]:
        tallies = [caller.tally for caller in self._callers]
        asked, answered = sum(t.asked for t in tallies), sum(t.answered for t in tallies)
        versions = sum(len(t.versions) for t in tallies)
        most_files = max(max(held.files.values()) for held in self.looks)
        return [
            Figure("processes killed", sum(self.kills.values())),
            Figure("requests answered", answered),
            Figure("requests failed, of those asked", 100 * (asked - answered) / max(asked, 1), "%"),
            Figure("runs", sum(self.runs.values())),
            Figure("versions that answered", versions),
            Figure("corrections acknowledged", sum(len(t.acknowledged) for t in tallies)),
            *happened(self._asked()),
            at_most("acknowledged corrections lost", len(self.lost), 0),
            at_most("acknowledged corrections that do not answer", len(self.silent), 0),
            at_most("wrong-tenant answers", sum(len(t.foreign) for t in tallies), 0),
            at_least("came to rest", self.rested, 1),
            *bounds(self.looks[0], self.looks[-1], most_files, self._asked()),
        ]

    def _asked(self) -> Asked:
        plan = self._house.system.plan
        return Asked(
            tenants=TENANTS,
            requests=self.asked,
            corrections=[len(caller.tally.acknowledged) for caller in self._callers],
            learn_from=LEARN_FROM,
            steps=POLICY["learning"]["recipe"]["max_steps"],
            kept=KEPT_VERSIONS,
            runs=self.runs,
            swaps=self._operator.swaps,
            kills={name: self.kills[name] for name in self._leaders()},
            slots=plan.max_loras,
            cache_bytes=plan.engine_cache_bytes,
        )

    def told(self) -> list[str]:
        """Details for a person."""
        failures = sum((caller.tally.failures for caller in self._callers), Counter[str]())
        foreign = [line for caller in self._callers for line in caller.tally.foreign]
        last = self.looks[-1]
        return [
            f"killed: {dict(self.kills)}",
            f"runs: {dict(self.runs)}; failed because: {dict(self.reasons)}",
            f"failures: {dict(failures)}; the operator was refused: {dict(self._operator.refused)}",
            f"files: {dict(last.files)}; resident MB: {dict(last.rss_mb)}; logs {last.log_mb} MB",
            f"rows: {dict(last.rows)}; keys in Redis: {dict(last.redis_keys)}",
            *(f"lost: {line}" for line in self.lost[:5]),
            *(f"does not answer: {line}" for line in self.silent[:5]),
            *(f"wrong tenant: {line}" for line in foreign[:5]),
        ]
