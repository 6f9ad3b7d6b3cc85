"""The parts of `control_house`, and what tests of the session's engine, and of imports, begin with."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import pytest_asyncio
from click.testing import Result
from redis.asyncio import Redis
from safetensors.numpy import save_file
from typer.testing import CliRunner

from adapters.base import BaseModel, describe_base
from adapters.database import connect
from adapters.settings import Settings as AdaptersSettings
from adapters.swap import Swapper
from adapters.testing import FakeEngine
from adapters.vllm import VllmEngine
from deploy.demo.serving import RunningEngine
from gateway.cli.main import app as commands
from gateway.control import Control, assembled
from gateway.follower import Follower
from gateway.leases import Heartbeat, Leases
from gateway.loader import SnapshotLoader
from gateway.settings import Settings
from gateway.snapshot import CurrentSnapshot
from tests.integration.control_house import ADMIN_KEY, Graft, System, administered
from tests.integration.gateway_house import Customer, House, house, listening
from tests.integration.random_adapters import Write, write_adapter
from tests.integration.transfer_house import House as TransferHouse
from tests.integration.transfer_house import housed


@pytest.fixture
def base(base_model: Path) -> BaseModel:
    return describe_base(base_model)


@pytest.fixture
async def vllm(engine: RunningEngine, base: BaseModel) -> AsyncIterator[VllmEngine]:
    """The session's engine, left without adapters."""
    async with httpx.AsyncClient(trust_env=False) as http:
        replica = VllmEngine(engine.url, engine.token, http, base.digest)
        yield replica
        for version_id in await replica.resident():
            await replica.unload(version_id)


@pytest.fixture
def write(tmp_path: Path, base: BaseModel) -> Write:
    """Files of an adapter, strong enough that no prompt is answered as before."""

    def make(seed: int, strength: float = 0.3) -> Path:
        return write_adapter(tmp_path / f"seed-{seed}", base, seed, strength=strength)

    return make


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def built(engine: RunningEngine, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A gateway before the session's engine, for a module whose tests bring tenants of their own."""
    async with house(tmp_path_factory.mktemp("house"), engine.url, engine.token) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def acme(built: House) -> AsyncIterator[Customer]:
    async with built.customer("acme") as customer:
        yield customer


@pytest.fixture
def import_max_bytes() -> int:
    return 64 * 1024**2


@pytest.fixture
async def home(tmp_path: Path, redis_url: str, import_max_bytes: int) -> AsyncIterator[TransferHouse]:
    async with housed(tmp_path, redis_url, import_max_bytes=import_max_bytes) as made:
        yield made


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    """A directory that describes a base model of one linear layer."""
    directory = tmp_path / "base"
    directory.mkdir()
    (directory / "config.json").write_text('{"hidden_size": 8, "num_hidden_layers": 1}')
    (directory / "tokenizer.json").write_text("{}")
    save_file(
        {"model.layers.0.mlp.up_proj.weight": np.ones((16, 8), np.float32)}, directory / "m.safetensors"
    )
    return directory


@pytest.fixture
async def worker(database_url: str, redis_url: str) -> AsyncIterator[CurrentSnapshot]:
    """A gateway worker's follower and heartbeat."""
    sql = connect(database_url)
    redis, current = Redis.from_url(redis_url), CurrentSnapshot()
    heartbeat = Heartbeat(redis, "w_1", Leases())
    follower = Follower(SnapshotLoader(sql, "salt"), redis, current, heartbeat)
    await follower.start()
    await heartbeat.start()
    yield current
    await heartbeat.close()
    await follower.close()
    await redis.aclose()
    await sql.dispose()


@pytest.fixture
async def system(
    tmp_path: Path, database_url: str, redis_url: str, worker: CurrentSnapshot, base_path: Path
) -> AsyncIterator[System]:
    settings = Settings(
        data_dir=tmp_path, database_url=database_url, redis_url=redis_url, webhook_private_hosts=True
    )
    told = AdaptersSettings(data_dir=tmp_path, base_model=str(base_path))
    engine = FakeEngine(base_digest=describe_base(base_path).digest)
    files = tmp_path / "files"
    files.mkdir()
    (files / "adapter_model.safetensors").write_bytes(b"weights")

    @contextlib.asynccontextmanager
    async def assemble() -> AsyncIterator[Control]:
        async with assembled(settings, told) as real:
            cache, told_of = tmp_path / "cache", real.metrics.swapped
            swapper = Swapper(real.registry, real.store, [engine], real.workers, cache, swapped=told_of)
            canaries = replace(real.canaries, swapper=swapper)
            yield replace(real, engines=(engine,), swapper=swapper, canaries=canaries)

    async with administered(assemble) as (app, admin):
        yield System(admin, app.state.control, engine, worker, files, app)


@pytest.fixture
async def graft(system: System, tmp_path: Path) -> AsyncIterator[Graft]:
    """A command with the operator's credentials and nothing else: no data directory that holds keys."""
    transport = system.admin._transport
    assert isinstance(transport, httpx.ASGITransport)
    async with listening(transport.app) as url:
        told = ["--data-dir", str(tmp_path / "nothing"), "--admin-url", url, "--admin-key", ADMIN_KEY]

        async def run(*arguments: str) -> Result:
            return await asyncio.to_thread(CliRunner().invoke, commands, [*told, *arguments])

        yield run
