"""Two real replicas of one base model under load: each is killed in turn, and nobody's request fails.

The first one comes back while the load goes on, gets its versions back by itself, and then has to carry everything.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from adapters.base import describe_base
from adapters.settings import Settings as AdaptersSettings
from adapters.types import Lineage, VersionStatus
from adapters.vllm import VllmEngine
from deploy.demo import serving
from deploy.demo.serving import RunningEngine
from gateway.admin import create_app
from gateway.control import Control, assembled
from tests.integration.gateway_house import Customer, house, listening
from tests.integration.random_adapters import write_adapter
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(600)]

CUSTOMERS = 3
PERIOD_S = 0.4
"""Between two requests; every other one is a stream."""
BACK_WITHIN_S = 10.0
"""From a replica's first healthy answer until it holds its versions: the reconciler passes once a second."""
QUESTION = [{"role": "user", "content": "What are your opening hours?"}]


@dataclass
class Answer:
    """What became of one request."""

    begun: float
    """Monotonic."""
    stream: bool
    status: int = 0
    version: str = ""
    broken: bool = False
    """A stream that ended with an error event."""


class Load:
    """Requests that leave on the clock, whether or not earlier ones have come back."""

    def __init__(self, customers: Sequence[Customer]) -> None:
        self._customers = customers
        self.answers: list[Answer] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks: set[asyncio.Task[None]] = set()
        pacer = asyncio.create_task(self._pace(tasks))
        try:
            yield
        finally:
            pacer.cancel()
            await asyncio.gather(*tasks)

    async def _pace(self, tasks: set[asyncio.Task[None]]) -> None:
        while True:
            number = len(self.answers)
            answer = Answer(time.monotonic(), stream=number % 2 == 0)
            self.answers.append(answer)
            tasks.add(asyncio.create_task(self._ask(self._customers[number % CUSTOMERS], answer)))
            await asyncio.sleep(PERIOD_S)

    async def _ask(self, customer: Customer, answer: Answer) -> None:
        body = {"model": "default", "messages": QUESTION, "max_tokens": 40, "stream": answer.stream}
        response = await customer.client.post("/v1/chat/completions", json={**body, "ignore_eos": True})
        answer.status, answer.version = response.status_code, response.headers.get("x-graft-version", "")
        if answer.stream and response.status_code == 200:
            *_, end = [line for line in response.text.splitlines() if line]
            answer.broken = end != "data: [DONE]"
            assert not answer.broken or '"error"' in end, "a stream ended without a word"

    async def goes_on(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass
class Replica:
    """An engine that can be killed and started again on its port."""

    port: int
    model: Path
    told: Mapping[str, str]
    stack: AsyncExitStack
    running: RunningEngine | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        starting = serving.engine(self.model, self.told, port=self.port)
        self.running = await asyncio.to_thread(starting.__enter__)
        self.stack.push_async_callback(asyncio.to_thread, starting.__exit__, None, None, None)

    def kill(self) -> float:
        """With -9, and all that it has started; when that was."""
        assert self.running is not None
        os.killpg(self.running.pid, signal.SIGKILL)
        return time.monotonic()


async def serving_version(control: Control, customer: Customer, files: Path, seed: int) -> str:
    """A version of random weights, approved and swapped in by control's own loops; its id."""
    artifact = await control.store.put(write_adapter(files / str(seed), control.base, seed))
    lineage = Lineage(control.base.digest)
    version = await control.registry.register(customer.id, "default", artifact.digest, lineage, {})
    await control.registry.set_status(version.id, VersionStatus.APPROVED)

    async def answers() -> bool:
        response = await customer.ask(QUESTION[0]["content"], max_tokens=1)
        return response.headers.get("x-graft-version") == "default@v1"

    await until(answers)
    return version.id


async def test_each_of_two_replicas_is_killed_under_load_and_no_request_fails(
    base_model: Path, tmp_path: Path
) -> None:
    digest, ports = describe_base(base_model).digest, [serving.free_port() for _ in range(2)]
    told = AdaptersSettings(data_dir=tmp_path, base_model=str(base_model))
    urls = ",".join(f"http://127.0.0.1:{port}" for port in ports)
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(
            house(tmp_path, urls, serving.TOKEN, searching=False, base_digest=digest)
        )
        app = create_app(lambda: assembled(here.settings, told), "gk-admin", serving.TOKEN)
        await stack.enter_async_context(app.router.lifespan_context(app))
        control: Control = app.state.control
        store = {
            "GRAFT_ARTIFACTS_URL": "",
            "GRAFT_CONTROL_URL": await stack.enter_async_context(listening(app)),
        }
        first, second = [Replica(port, base_model, store, stack) for port in ports]
        await asyncio.gather(first.start(), second.start())
        customers = [await stack.enter_async_context(here.customer(f"t{n}")) for n in range(CUSTOMERS)]
        versions = {
            await serving_version(control, customer, tmp_path / "made", seed)
            for seed, customer in enumerate(customers)
        }
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        load, killed = Load(customers), list[float]()

        async def holds_all(replica: Replica) -> bool:
            return await VllmEngine(replica.url, serving.TOKEN, http).resident() == versions

        for replica in (first, second):
            await until(lambda replica=replica: holds_all(replica))
        async with load.running():
            await load.goes_on(3.0)
            killed.append(first.kill())
            await load.goes_on(3.0)
            await first.start()
            async with asyncio.timeout(BACK_WITHIN_S):
                await until(lambda: holds_all(first))
            await load.goes_on(2.0)
            killed.append(second.kill())
            await load.goes_on(6.0)
    assert len(load.answers) > 30
    assert {answer.status for answer in load.answers} == {200}
    assert {answer.version for answer in load.answers} == {"default@v1"}
    for answer in load.answers:
        if answer.broken:
            assert any(0 < at - answer.begun < 5.0 for at in killed), "no replica was killed under it"
    assert load.answers[-1].begun > killed[1] + 4.0
