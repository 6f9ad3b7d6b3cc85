"""A worker as it runs in production, with everything on: migrated SQLite, Redis, tenants with keys and versions."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

import adapters.tables
import gateway.tables
from adapters.database import connect
from adapters.types import DEFAULT_ADAPTER, Alias, VersionStatus
from gateway import launch, migrate
from gateway.credentials import Credentials
from gateway.keys import Scope, mint
from gateway.plan import Plan
from gateway.policy import Limits, Memory, Policy, Retrieval
from gateway.probes import Probes
from gateway.services import services
from tests.bench.processes import BenchError, Cores, Running, free_port, running, spawned

POLICY = Policy(
    limits=Limits(requests_per_minute=10_000_000, tokens_per_minute=10_000_000_000, concurrency=100_000),
    retrieval=Retrieval(enabled=False),
    memory=Memory(enabled=False),
)
"""Every limit is counted and none is reached; the journal keeps whole texts; retrieval is not asked."""
ROWS_AT_ONCE = 500


@dataclass(frozen=True)
class House:
    plan: Plan
    keys: Sequence[str]
    cores: Cores

    @contextmanager
    def worker(
        self, module: str = "gateway.app", core: int | None = None, port: int | None = None
    ) -> Iterator[Running]:
        """One worker, as the supervisor starts it, alone on the proxy's core; or on another. port: of another one."""
        spec = next(each for each in self._services() if each.name == "gateway")
        port = port or self.plan.port
        command = [spec.command[0], "-m", module, "--host", "127.0.0.1", "--port", str(port)]
        log = self.plan.logs / f"{module}-{port}.log"
        core = self.cores.proxy if core is None else core
        with running(command, spec.environment, core, log, port) as found:
            yield found

    @contextmanager
    def control(self) -> Iterator[Running]:
        """Control, as the supervisor starts it, alone on the proxy's core."""
        spec = next(each for each in self._services() if each.name == "control")
        log, port = self.plan.logs / "control.log", self.plan.admin_port
        with running(spec.command, spec.environment, self.cores.proxy, log, port) as found:
            yield found

    @contextmanager
    def redis(self) -> Iterator[None]:
        """Redis as the supervisor starts it, on the load's core."""
        spec = next(each for each in self._services() if each.name == "redis")
        (self.plan.data_dir / "redis").mkdir(exist_ok=True)
        with spawned(spec.command, spec.environment, self.cores.load, self.plan.logs / "redis.log"):
            asyncio.run(_answers(spec.ready))
            yield

    def _services(self) -> Sequence[Any]:
        return services(self.plan, dict(os.environ), Probes(), gateway_fd=0)


@contextmanager
def house(
    directory: Path,
    engine_url: str,
    tenants: int,
    cores: Cores,
    token: str = "stub-token",
    versions: int = 1,
    slots: int | None = None,
    engine_slots: int = 0,
) -> Iterator[House]:
    """`tenants` tenants, each with one key and an adapter with `versions` versions, and a Redis; no worker yet.
    token: the engine's API key. slots: versions that it batches; None: as many as there are. engine_slots:
    requests that it gets at once; 0: as many as usual."""
    overrides = {
        "data_dir": directory,
        "port": free_port(),
        "admin_port": free_port(),
        "engine_urls": engine_url,
        "retrieval_url": "http://127.0.0.1:9",
        "base_model": "",
        "max_loras": slots or tenants,
        "engine_slots": engine_slots,
    }
    plan = launch.make_plan(launch.read_settings({}, overrides), Credentials(token, mint().secret, ""))
    directory.mkdir(parents=True, exist_ok=True)
    keys = asyncio.run(furnish(plan.database_url, tenants, versions))
    made = House(plan, keys, cores)
    with made.redis():
        yield made


async def _answers(ready: Any) -> None:
    for _ in range(500):
        if await ready():
            return
        await asyncio.sleep(0.02)
    raise BenchError("Redis did not become ready")


async def furnish(database_url: str, tenants: int, versions: int = 1) -> Sequence[str]:
    """The record before the worker starts; returns the keys' secrets. Written in bulk: the tenants' own API commits
    three times for each. The first version of each tenant is stable, the others are retired."""
    await migrate.upgrade(database_url)
    engine = connect(database_url)
    secrets: list[str] = []
    async with engine.begin() as connection:
        await connection.execute(sa.insert(adapters.tables.bases).values(name="base", digest="sha256:base"))
        for start in range(0, tenants, ROWS_AT_ONCE):
            minted = [mint() for _ in range(start, min(start + ROWS_AT_ONCE, tenants))]
            secrets += [key.secret for key in minted]
            numbered = list(enumerate(minted, start))
            for table, make in _ROWS:
                await connection.execute(sa.insert(table), [make(number, key) for number, key in numbered])
            older = [_retired(at, number) for at, _ in numbered for number in range(2, versions + 1)]
            if older:
                await connection.execute(sa.insert(adapters.tables.versions), older)
    await engine.dispose()
    return secrets


def version_id(number: int) -> str:
    """Of the tenant with this number: what the engine calls its version."""
    return f"ver_{number:024x}"


def tenant_id(number: int) -> str:
    return f"ten_{number:024x}"


def _tenant(number: int, _key: Any) -> dict[str, Any]:
    return {
        "id": tenant_id(number),
        "external_id": f"tenant-{number}",
        "name": f"Tenant {number}",
        "policy": POLICY.model_dump(mode="json"),
        "policy_revision": 1,
        "created_at": datetime.now(UTC),
    }


def _key(number: int, key: Any) -> dict[str, Any]:
    return {
        "id": f"key_{number:024x}",
        "tenant_id": tenant_id(number),
        "public_id": key.public_id,
        "digest": key.digest,
        "name": "bench",
        "scopes": [scope.value for scope in Scope],
        "created_at": datetime.now(UTC),
    }


def _adapter(number: int, _key: Any) -> dict[str, Any]:
    return {
        "tenant_id": tenant_id(number),
        "name": DEFAULT_ADAPTER,
        "base_digest": "sha256:base",
        "created_at": datetime.now(UTC),
    }


def _version(number: int, _key: Any) -> dict[str, Any]:
    return {
        "id": version_id(number),
        "tenant_id": tenant_id(number),
        "adapter": DEFAULT_ADAPTER,
        "number": 1,
        "artifact_digest": f"sha256:{number:064x}",
        "base_digest": "sha256:base",
        "recipe": {},
        "metrics": {},
        "status": VersionStatus.STABLE.value,
        "created_at": datetime.now(UTC),
    }


def _retired(tenant: int, number: int) -> dict[str, Any]:
    changed = {"id": f"ver_{tenant:018x}_old{number}", "number": number}
    return _version(tenant, None) | changed | {"status": VersionStatus.RETIRED.value}


def _alias(number: int, _key: Any) -> dict[str, Any]:
    return {
        "tenant_id": tenant_id(number),
        "adapter": DEFAULT_ADAPTER,
        "alias": Alias.STABLE.value,
        "version_id": version_id(number),
        "revision": 1,
    }


_ROWS = (
    (gateway.tables.tenants, _tenant),
    (gateway.tables.keys, _key),
    (adapters.tables.adapters, _adapter),
    (adapters.tables.versions, _version),
    (adapters.tables.aliases, _alias),
)
