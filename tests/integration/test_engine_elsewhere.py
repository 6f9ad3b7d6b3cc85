"""An engine that shares no file with control: it has a directory of its own and, where we may arrange that, no right
to look into control's. The two have only HTTP between them."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from adapters.artifacts import hex_of
from adapters.base import describe_base
from adapters.errors import EngineRefused
from adapters.settings import Settings as AdaptersSettings
from adapters.types import Lineage, Version, VersionStatus
from adapters.vllm import PLUGIN, VllmEngine
from deploy.demo import serving
from deploy.demo.serving import RunningEngine
from gateway.admin import create_app
from gateway.control import Control, assembled
from tests.integration.gateway_house import Customer, House, house, listening
from tests.integration.prefix_cache import PROMPT
from tests.integration.random_adapters import write_adapter
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

OTHER_USER = "nobody"
SHUT_OUT = (
    ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search")
    if os.getuid() == 0
    else ()
)
"""A command under which root can read only what root owns or everybody may read. The interpreter may be where no other
user could run it, so it is control's directory that gets another owner."""
QUESTION = "What are your opening hours?"
MEMORY = {"max_loras": 2, "max_cpu_loras": 2}
"""Few places, so that a version is soon pushed out."""


@dataclass(frozen=True)
class Elsewhere:
    """An engine with a home that is its own, and a house whose directories it cannot read."""

    house: House
    control: Control
    replica: VllmEngine
    home: Path

    async def approved(self, customer: Customer, seed: int) -> Version:
        base = self.control.base
        files = write_adapter(self.house.settings.data_dir / f"made-{customer.id}-{seed}", base, seed)
        artifact = await self.control.store.put(files)
        adapter = await self.control.registry.ensure_adapter(customer.id, "support", base.digest)
        lineage = Lineage(base.digest)
        made = await self.control.registry.register(customer.id, adapter.name, artifact.digest, lineage, {})
        await self.control.registry.set_status(made.id, VersionStatus.APPROVED)
        return made

    def copy_of(self, version: Version) -> Path:
        return self.home / "cache" / "artifacts" / hex_of(version.artifact_digest)

    async def push_out(self, version: Version, others: Sequence[Version]) -> None:
        """Fills the engine's memory with others, deletes the version's files from its disk, and waits until that
        is seen."""
        for other in others:
            await self.replica.pull(other.id, other.artifact_digest)
        assert await self._state_of(version) == (True, False)
        shutil.rmtree(self.copy_of(version))

        async def seen() -> bool:
            return await self._state_of(version) == (False, False)

        await until(seen)

    async def _state_of(self, version: Version) -> tuple[bool, bool]:
        """Whether requests may name it, and whether it is in memory."""
        async with httpx.AsyncClient(trust_env=False) as http:
            headers = {"authorization": f"Bearer {serving.TOKEN}"}
            listed = (await http.get(self.replica.url + PLUGIN, headers=headers)).json()["data"]
        (held,) = [each for each in listed if each["id"] == version.id]
        return held["servable"], held["in_memory"]

    async def said(self, name: str) -> str:
        """By the engine asked directly."""
        return (await self.replica.chat(name, [{"role": "user", "content": PROMPT}], 8)).texts[0]


@contextmanager
def home() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="graft-elsewhere-"))
    yield made
    shutil.rmtree(made)


@contextmanager
def engine_of(directory: Path, model: Path, control_url: str, port: int = 0) -> Iterator[RunningEngine]:
    told = {
        "GRAFT_ARTIFACTS_URL": "",
        "GRAFT_CONTROL_URL": control_url,
        "GRAFT_ENGINE_CACHE_DIR": str(directory / "cache"),
        "HOME": str(directory),
        "TMPDIR": str(directory),
    }
    with serving.engine(model, told, SHUT_OUT, port, **MEMORY) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def elsewhere(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Elsewhere]:
    directory = tmp_path_factory.mktemp("house")
    directory.chmod(0o700)
    if SHUT_OUT:
        shutil.chown(directory, OTHER_USER)
    told = AdaptersSettings(data_dir=directory, base_model=str(base_model))
    port = serving.free_port()
    async with house(
        directory, f"http://127.0.0.1:{port}", serving.TOKEN, base_digest=describe_base(base_model).digest
    ) as made:
        app = create_app(lambda: assembled(made.settings, told), "gk-admin", serving.TOKEN, loops=False)
        async with app.router.lifespan_context(app), listening(app) as control_url:
            with home() as place:
                starting = engine_of(place, base_model, control_url, port)
                running = await asyncio.to_thread(starting.__enter__)
                try:
                    async with httpx.AsyncClient(trust_env=False) as http:
                        replica = VllmEngine(running.url, running.token, http)
                        yield Elsewhere(made, app.state.control, replica, place)
                finally:
                    await asyncio.to_thread(starting.__exit__, None, None, None)


async def test_a_swap_reaches_an_engine_that_can_read_none_of_our_files(elsewhere: Elsewhere) -> None:
    async with elsewhere.house.customer("acme") as acme:
        version = await elsewhere.approved(acme, 1)
        await elsewhere.control.swapper.swap(acme.id, "support", version.id, "test")
        answer = await acme.ask(QUESTION, {"X-Adapter": "support"}, max_tokens=4)
    assert (answer.status_code, answer.headers["x-graft-version"]) == (200, "support@v1")
    copy = elsewhere.copy_of(version)
    assert sorted(path.name for path in copy.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
    ]


@pytest.mark.skipif(not SHUT_OUT, reason="only root can shut the engine out")
async def test_the_engine_cannot_read_what_control_wrote(elsewhere: Elsewhere) -> None:
    """So that the tests beside this one show what they say."""
    place = str(elsewhere.house.settings.data_dir / "artifacts")
    for command, readable in ((["ls", place], True), ([*SHUT_OUT, "ls", place], False)):
        asked = await asyncio.create_subprocess_exec(*command, stdout=-3, stderr=-3)
        assert (await asked.wait() == 0) is readable


async def test_a_version_that_was_never_loaded_is_resolved_on_demand(elsewhere: Elsewhere) -> None:
    async with elsewhere.house.customer("globex") as globex:
        version = await elsewhere.approved(globex, 2)
        change = await elsewhere.control.registry.position()
        await elsewhere.house.applied(change)
        answer = await globex.ask(QUESTION, {"X-Adapter": "support@v1"}, max_tokens=4)
    assert (answer.status_code, answer.headers["x-graft-version"]) == (200, "support@v1")
    assert version.id in await elsewhere.replica.resident()


async def test_a_rejected_version_is_not_resolved(elsewhere: Elsewhere) -> None:
    async with elsewhere.house.customer("initech") as initech:
        version = await elsewhere.approved(initech, 3)
        await elsewhere.control.registry.set_status(version.id, VersionStatus.REJECTED)
        with pytest.raises(EngineRefused) as caught:
            await elsewhere.replica.chat(version.id, [{"role": "user", "content": "Hello"}], 1)
    assert caught.value.status == 404


async def test_an_artifact_that_was_changed_in_the_store_is_refused_before_it_is_loaded(
    elsewhere: Elsewhere,
) -> None:
    async with elsewhere.house.customer("umbrella") as umbrella:
        version = await elsewhere.approved(umbrella, 4)
        stored = elsewhere.house.settings.data_dir / "artifacts" / hex_of(version.artifact_digest)
        (stored / "adapter_model.safetensors").write_bytes(b"other weights")
        with pytest.raises(EngineRefused):
            await elsewhere.control.swapper.swap(umbrella.id, "support", version.id, "test")
    assert version.id not in await elsewhere.replica.resident()
    assert not elsewhere.copy_of(version).exists()


async def asked(customer: Customer, version: str) -> httpx.Response:
    return await customer.ask(QUESTION, {"X-Adapter": f"support@{version}"}, max_tokens=4, temperature=0)


def text_of(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


async def test_a_version_whose_files_are_gone_is_fetched_again_by_its_next_request(
    elsewhere: Elsewhere,
) -> None:
    """vLLM alone reads them in the middle of a step, and ends when they are not there."""
    async with elsewhere.house.customer("hooli") as hooli:
        versions = [await elsewhere.approved(hooli, seed) for seed in (5, 6, 7)]
        await elsewhere.house.applied(await elsewhere.control.registry.position())
        before = text_of(await asked(hooli, "v1"))
        await elsewhere.push_out(versions[0], versions[1:])
        assert text_of(await asked(hooli, "v1")) == before
    assert elsewhere.copy_of(versions[0]).is_dir()


async def test_a_version_whose_files_are_gone_for_good_is_refused_and_the_others_go_on(
    elsewhere: Elsewhere,
) -> None:
    async with elsewhere.house.customer("piper") as piper:
        versions = [await elsewhere.approved(piper, seed) for seed in (8, 9, 10)]
        await elsewhere.house.applied(await elsewhere.control.registry.position())
        text_of(await asked(piper, "v1"))
        await elsewhere.push_out(versions[0], versions[1:])
        stored = elsewhere.house.settings.data_dir / "artifacts" / hex_of(versions[0].artifact_digest)
        shutil.rmtree(stored)
        lost = await asked(piper, "v1")
        assert text_of(await asked(piper, "v2"))
    assert (lost.status_code, lost.json()["error"]["message"]) == (503, "This version is not loaded yet.")


async def test_a_name_never_answers_with_other_weights_than_it_was_loaded_with(elsewhere: Elsewhere) -> None:
    """Nor, once it was removed, from what vLLM has computed with the first ones."""
    async with elsewhere.house.customer("hooli") as hooli:
        one, two = [await elsewhere.approved(hooli, seed) for seed in (11, 12)]
    for version in (one, two):
        await elsewhere.replica.pull(version.id, version.artifact_digest)
    first, second = await elsewhere.said(one.id), await elsewhere.said(two.id)
    assert first != second
    with pytest.raises(EngineRefused) as caught:
        await elsewhere.replica.pull(one.id, two.artifact_digest)
    assert caught.value.status == 409
    assert await elsewhere.said(one.id) == first
    await elsewhere.replica.unload(one.id)
    await elsewhere.replica.pull(one.id, two.artifact_digest)
    assert await elsewhere.said(one.id) == second


@pytest.mark.parametrize("token", ["", "Bearer wrong", f"Basic {serving.TOKEN}"])
@pytest.mark.parametrize("path", ["versions/ver_any", f"artifacts/{'0' * 64}/manifest.json"])
async def test_control_tells_engines_nothing_without_their_token(
    elsewhere: Elsewhere, path: str, token: str
) -> None:
    app = create_app(
        lambda: assembled(elsewhere.house.settings, AdaptersSettings()), "gk-admin", serving.TOKEN
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://control") as http:
        answer = await http.get(f"/engine/v1/{path}", headers={"authorization": token})
    assert answer.status_code == 401
