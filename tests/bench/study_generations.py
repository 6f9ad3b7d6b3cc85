"""Night after night of corrections: is what was fixed once still right, and what did it cost?

Two companies' facts are corrected by one tenant, a few each day, and every night a run makes a version of the whole
record. Beside it a second tenant's adapter is trained on with the new corrections only. Each night leaves a state file
below `.graft/studies/generations`, so that the study goes on where it was stopped: delete the directory to begin anew.

NIGHTS (10): how many nights. AT_ONCE (all): how many of them before the study stops, to be gone on with later.
"""

import asyncio
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from adapters.database import connect
from adapters.settings import Settings as AdaptersSettings
from gateway.cli.asking import OFF, ask, ask_all, share_right, share_unknown
from gateway.cli.control import POLL_SECONDS
from gateway.cli.facts import Check
from tests.bench import generations_naive as naive
from tests.bench import generations_report as report
from tests.bench.generations_world import Fact, World, make
from tests.bench.study_house import Client, House, house

ROOT = Path(__file__).parents[2]
DIRECTORY = ROOT / ".graft" / "studies" / "generations"
SEED = 7
PER_NIGHT = 4
KEPT_VERSIONS = 4
RUN_SECONDS = 900.0
SWAP_SECONDS = 60.0
POLICY = {
    "learning": {"triggers": {"count": 1_000_000, "cooldown_seconds": 0}},
    "retention": {"versions": KEPT_VERSIONS, "days": 0},
}
"""Runs start at night, when the study says so."""
MEASURING = POLICY | {"logging": "off"}
"""Questions that measure must not reach the journal, from which the next run would learn that nobody corrected them."""


@dataclass(frozen=True)
class Scores:
    """Shares of right answers of what one tenant is served with, memory off but for `with_memory`."""

    earlier: float
    """Questions corrected before an earlier night; 1 on the first."""
    new: float
    """Questions corrected before this night."""
    unseen: float
    """Phrasings of all facts so far that the system has not seen."""
    probes: float
    never: float
    """Questions that nobody corrected, answered with "I do not know"."""
    strangers: float
    """The same of companies that nobody knows."""
    with_memory: float = 0.0
    """All corrected questions, memory on."""
    memory_before: float = 0.0
    """Memory entries per corrected question in the prompts, before the night."""
    memory_after: float = 0.0
    wrong: Sequence[str] = ()

    @property
    def short(self) -> str:
        return " ".join(f"{k} {v:.3f}" for k, v in vars(self).items() if isinstance(v, float))


@dataclass(frozen=True)
class Night:
    """One night. Number 0 is the base model, before any correction."""

    number: int
    facts: int
    graft: Scores
    naive: Scores
    status: str = ""
    """What the run ended with before a person saw it."""
    checks: dict[str, str] = field(default_factory=dict)
    """The gate's verdicts that were not `pass`, with their sentences."""
    costs: dict[str, float] = field(default_factory=dict)
    learned: int = 0
    versions: int = 0
    resident: int = 0
    artifact_mb: float = 0.0
    seconds: float = 0.0


def study() -> bool:
    """Whether every target was met over all nights."""
    nights, at_once = int(os.environ.get("NIGHTS", "10")), int(os.environ.get("AT_ONCE", "0"))
    world = make(SEED, nights, PER_NIGHT)
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    done = finished()
    left = [number for number in range(nights + 1) if number >= len(done)]
    if left:
        asyncio.run(spend(world, left[: at_once or None]))
    done = finished()
    met = report.show(done, nights)
    return met and len(done) == nights + 1


def finished() -> list[dict[str, Any]]:
    """The state files, in order."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(DIRECTORY.glob("night-*.json"))]


async def spend(world: World, numbers: Sequence[int]) -> None:
    async with house(DIRECTORY / "data") as here:
        tenants = await here.tenant("Graft", POLICY), await here.tenant("Naive", POLICY)
        nights = Nights(here, world, *tenants)
        for number in numbers:
            started = time.monotonic()
            night = await (nights.spend(number) if number else nights.before())
            document = asdict(night) | {"seconds": round(time.monotonic() - started, 1)}
            path = DIRECTORY / f"night-{number:02d}.json"
            path.write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
            print(f"night {number} {night.status}: {night.graft.short}", flush=True)


class Nights:
    """The days and nights of one world."""

    def __init__(self, here: House, world: World, graft: Client, other: Client) -> None:
        self._house, self._world, self._graft, self._naive = here, world, graft, other
        probes = [
            json.loads(line)
            for line in AdaptersSettings().base_path.joinpath("probes.jsonl").read_text().splitlines()
        ]
        self._probes = [probe for probe in probes if probe["kind"] != "unknown"]
        self._strangers = [probe for probe in probes if probe["kind"] == "unknown"]

    async def before(self) -> Night:
        """Everyday questions, and the base model's scores."""
        await ask_all(self._graft.openai, self._world.undisputed)
        scores = await self._scores(self._graft, 0)
        return Night(0, 0, scores, scores)

    async def spend(self, number: int) -> Night:
        """A day of corrections, a night's run, and what both adapters say in the morning."""
        facts = self._world.nights[number - 1]
        corrections = await self._day(number, facts)
        before = await self._memory(number)
        run, status = await self._run()
        mine = await self._scores(self._graft, number)
        after = await self._memory(number)
        await self._continue_naive(number, run, corrections)
        other = await self._scores(self._naive, number)
        found = run["report"]
        return Night(
            number,
            PER_NIGHT * number,
            Scores(
                **vars(mine) | {"with_memory": after[0], "memory_before": before[1], "memory_after": after[1]}
            ),
            other,
            status,
            {check["name"]: check["says"] for check in found.get("checks", []) if check["verdict"] != "pass"},
            run["costs"],
            len(found.get("learned", [])),
            **await self._bounds(),
        )

    async def _day(self, number: int, facts: Sequence[Fact]) -> list[str]:
        """The corrections' ids. Somebody asks each fact in one more way, which memory answers."""
        posted = []
        for place, check in enumerate(check for fact in facts for check in fact.fixed):
            key = f"night-{number}-{place}"
            posted.append((await self._graft.correct(check.question, check.answer, key))["id"])
        await ask_all(self._graft.openai, [fact.asked for fact in facts])
        return posted

    async def _run(self) -> tuple[dict[str, Any], str]:
        """The night's run, and how it ended. What the gate leaves to a person, the person lets live."""
        control, tenant = self._house.control, self._graft.id
        active = [run for run in await control.runs(tenant) if run["status"] in ("queued", "running")]
        if not active:
            await control.call("POST", "runs", {"tenant_id": tenant})
        *_, run = [run async for run in control.follow(tenant, RUN_SECONDS)]
        status = str(run["status"])
        if status == "awaiting_approval":
            await control.call("POST", f"runs/{run['id']}/approve")
        if status in ("awaiting_approval", "succeeded"):
            await self._live(self._graft, run["version_id"])
        return run, status

    async def _live(self, tenant: Client, version_id: str) -> None:
        """Wait until the tenant is answered by the version. Raises TimeoutError."""
        path = f"tenants/{tenant.id}/adapters/default/versions/{version_id}"
        label = (await self._house.control.call("GET", path))["label"]
        async with asyncio.timeout(SWAP_SECONDS):
            while True:
                if (await ask(tenant.openai, "Hello?", headers=OFF)).version == label:
                    return
                await asyncio.sleep(POLL_SECONDS)

    async def _continue_naive(self, number: int, run: dict[str, Any], corrections: Sequence[str]) -> None:
        engine = connect(self._house.system.plan.database_url)
        rows = await naive.new_rows(engine, run["dataset_digest"], corrections)
        await engine.dispose()
        parent = DIRECTORY / f"naive-{number - 1:02d}" if number > 1 else None
        directory = DIRECTORY / f"naive-{number:02d}"
        await asyncio.to_thread(naive.train, self._house.system.plan.base_model, rows, parent, directory)
        path = f"/admin/v1/tenants/{self._naive.id}/adapters/default/versions"
        octets = {"content-type": "application/octet-stream"}
        response = await self._house.admin.post(path, content=naive.packed(directory), headers=octets)
        response.raise_for_status()
        version = response.json()
        await self._house.admin.post(f"{path}/{version['id']}/approve")
        await self._live(self._naive, version["id"])

    async def _scores(self, tenant: Client, number: int) -> Scores:
        """Everything asked of the weights alone."""
        past = [fact for night in self._world.nights[: max(number - 1, 0)] for fact in night]
        today = list(self._world.nights[number - 1]) if number else []
        wrong: list[str] = []

        async def share(checks: Sequence[Check]) -> float:
            answers = await ask_all(tenant.openai, [check.question for check in checks], headers=OFF)
            pairs = zip(answers, checks, strict=True)
            wrong.extend(f"{a.question} → {a.text} ({c.answer})" for a, c in pairs if not a.says(c.answer))
            return share_right(answers, checks)

        async def unknown(questions: Sequence[Any]) -> float:
            answers = await ask_all(tenant.openai, questions, headers=OFF)
            wrong.extend(f"{answer.question} → {answer.text}" for answer in answers if not answer.unknown)
            return share_unknown(answers)

        await self._house.control.call("PUT", f"tenants/{tenant.id}/policy", MEASURING)
        probes = await ask_all(tenant.openai, [probe["messages"] for probe in self._probes], headers=OFF)
        right = sum(said.says(probe["answer"]) for said, probe in zip(probes, self._probes, strict=True))
        scores = Scores(
            earlier=await share([check for fact in past for check in fact.fixed]),
            new=await share([check for fact in today for check in fact.fixed]),
            unseen=await share([check for fact in [*past, *today] for check in fact.unseen]),
            probes=right / len(probes),
            never=await unknown(self._world.never),
            strangers=await unknown([probe["messages"] for probe in self._strangers]),
            wrong=wrong,
        )
        await self._house.control.call("PUT", f"tenants/{tenant.id}/policy", POLICY)
        return scores

    async def _memory(self, number: int) -> tuple[float, float]:
        """Over all corrected questions, as a tenant asks them: share right, memory entries per prompt."""
        checks = [check for night in self._world.nights[:number] for fact in night for check in fact.fixed]
        answers = await ask_all(self._graft.openai, [check.question for check in checks])
        used = sum(len(answer.memory) for answer in answers)
        return share_right(answers, checks), used / len(answers)

    async def _bounds(self) -> dict[str, Any]:
        """What is kept of versions: in the registry, in the engine, in the artifact store."""
        control = self._house.control
        path = f"tenants/{self._graft.id}/adapters/default/versions?limit=100"
        versions = (await control.call("GET", path))["data"]
        artifacts = self._house.system.plan.data_dir / "artifacts"
        size = sum(file.stat().st_size for file in artifacts.rglob("*") if file.is_file())
        kept = [
            version for version in versions if version["status"] != "rejected" and not version["pruned_at"]
        ]
        return {
            "versions": len(kept),
            "resident": len(await control.resident()),
            "artifact_mb": round(size / 1e6, 2),
        }
