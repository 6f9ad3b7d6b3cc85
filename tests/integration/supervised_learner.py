"""The learner of `learner_house` under the supervisor, both in one control group of the kernel.

`python -m tests.integration.supervised_learner GROUP DIRECTORY BASE_MODEL` runs until its standard input ends and
prints what the supervisor reports, one event a line.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

from gateway.guardian import Guardian
from gateway.supervisor import Event, ProcessSpec, Supervisor
from tests.integration.memory_group import MemoryGroup

ROOT = Path(__file__).parents[2]


async def supervise(group: str, directory: str, base_model: str) -> None:
    MemoryGroup.named(group).enter()
    place = Path(directory)

    async def ready() -> bool:
        return (place / "warm").exists()

    command = [sys.executable, "-m", "tests.integration.learner_house", directory, base_model]
    spec = ProcessSpec("learner", command, dict(os.environ), ready)
    guardian = Guardian(0, ROOT)
    supervisor = Supervisor([spec], place, place / "tmp", ROOT, guardian, _say, lambda: None)
    try:
        await supervisor.start()
        await asyncio.to_thread(sys.stdin.read)
    finally:
        await supervisor.stop()


def _say(event: Event) -> None:
    print(json.dumps(asdict(event)), flush=True)


@asynccontextmanager
async def supervised(
    group: MemoryGroup, directory: Path, base_model: Path
) -> AsyncIterator[AsyncIterator[Event]]:
    """What the supervisor of a process of its own reports."""
    arguments = (group.directory.name, str(directory), str(base_model))
    command = (sys.executable, "-m", "tests.integration.supervised_learner", *arguments)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=pipe, stdout=pipe)
    assert process.stdin and process.stdout
    try:
        yield _events(process.stdout)
    finally:
        process.stdin.close()
        await process.wait()


async def _events(lines: asyncio.StreamReader) -> AsyncIterator[Event]:
    async for line in lines:
        yield Event(**json.loads(line))


if __name__ == "__main__":
    asyncio.run(supervise(*sys.argv[1:]))
