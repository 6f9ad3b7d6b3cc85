"""The commands of docs/adapters.md, in their order, against the real admin API while control's loops run."""

import asyncio
import re
import shlex
from pathlib import Path

import pytest

from adapters.types import RolloutStatus, VersionStatus
from gateway.loops import Loops
from tests.integration.control_house import Graft, System
from tests.integration.random_adapters import write_adapter
from tests.waiting import until

PAGE = Path(__file__).parents[2] / "docs" / "adapters.md"
FOLDERS = ("first", "second", "third")


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


def documented() -> list[list[str]]:
    blocks = "".join(re.findall(r"^```bash\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S))
    lines = blocks.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True)) and words[0] == "graft"]


async def packed(directory: Path) -> None:
    """As the page says."""
    call = ["tar", "czf", f"{directory}.tar.gz", "-C", str(directory), "."]
    assert not await (await asyncio.create_subprocess_exec(*call)).wait()


async def test_an_adapter_lives_as_its_page_says(
    system: System, graft: Graft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control, tenant = system.control, (await system.tenant())["id"]
    for seed, name in enumerate(FOLDERS):
        await packed(write_adapter(tmp_path / name, control.base, seed, rank=2))
    control.anchors.write_text('{"messages": [{"role": "user", "content": "Hello"}], "answer": ""}\n')
    monkeypatch.chdir(tmp_path)

    async def taken_up() -> bool:
        """A canary without traffic has it all at once, and is watched."""
        canaries = [rollout.status for rollout in await control.canaries.open()]
        waiting = await control.registry.with_status(VersionStatus.APPROVED)
        return not waiting and set(canaries) <= {RolloutStatus.WATCHING}

    async with Loops(control).running():
        for words in documented():
            done = await graft(*words[1:])
            assert done.exit_code == 0, f"{words}: {done.output} {done.exception}"
            if "approve" in words:
                await until(taken_up)
    versions = {each.number: each for each in await control.registry.versions(tenant, "default")}
    assert [versions[number].status.value for number in (1, 2, 3)] == ["stable", "rolled_back", "rolled_back"]
    assert (tmp_path / "v3.tar.gz").is_file()
    (run,) = await control.runs.list()
    assert run.trigger == "merge"
