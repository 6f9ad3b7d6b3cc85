"""Redis, an engine, gateway workers and control as processes of their own, started as the supervisor starts them,
each of which can be killed and started again."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from adapters.artifacts import ArtifactStore
from adapters.base import BaseModel, describe_base
from adapters.reconcile import Reconciler
from adapters.registry import Registry
from adapters.settings import Settings as AdaptersSettings
from adapters.types import DEFAULT_ADAPTER, Alias, Lineage, Version, VersionStatus
from deploy.demo.serving import free_port
from gateway import launch, migrate
from gateway.control import Control, assembled
from gateway.credentials import Credentials
from gateway.keys import ALL_SCOPES
from gateway.plan import Plan
from gateway.probes import Probes
from gateway.process_files import with_scratch
from gateway.services import services
from gateway.settings import Settings
from gateway.supervisor import ProcessSpec
from tests.integration.random_adapters import write_adapter, write_repeater

READY_S = 240.0
ROOT = Path(__file__).parents[2]
BASE_MODEL = ROOT / "deploy" / "demo" / "model"


class Working:
    """A control process in the middle of an operation."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.steps: list[str] = []
        self.error: str | None = None
        """Of the operation, once it has ended."""

    async def reached(self, step: str) -> None:
        while step not in self.steps:
            await self._read()

    async def ended(self) -> str:
        """Lets it go on to its end; the error that this was, if any."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        while self.error is None:
            await self._read()
        await self._process.wait()
        return self.error

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise AssertionError(f"it ended after {self.steps}")
        said = json.loads(line)
        if "step" in said:
            self.steps.append(said["step"])
        else:
            self.error = said["error"]


@dataclass(frozen=True)
class Customer:
    """A tenant whose stable version is `old` while `new` waits to be swapped in."""

    id: str
    old: Version
    new: Version
    key: str


class Town:
    """control: the collaborators of a control process that outlives all kills, for looking and repairing."""

    def __init__(
        self,
        control: Control,
        base: BaseModel,
        http: httpx.AsyncClient,
        plan: Plan,
        specs: Sequence[ProcessSpec],
    ) -> None:
        self.plan = plan
        self.control = control
        self.registry: Registry = control.registry
        self.reconciler: Reconciler = control.reconciler
        self.store: ArtifactStore = control.store
        self.engines = control.engines
        self._base = base
        self._http = http
        self._seed = 0
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._specs = {spec.name: spec for spec in specs}

    async def start(self, name: str, core: int | None = None) -> None:
        """Returns when the process is ready. core: the one that it may use; None for all."""
        spec, log = self._specs[name], self.plan.logs / f"{name}.log"
        process = self._running[name] = _spawned(spec, log, self.plan.scratch)
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
        async with asyncio.timeout(READY_S):
            while not await spec.ready():
                assert process.poll() is None, log.read_text(errors="replace")[-2000:]
                await asyncio.sleep(0.05)

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def kill(self, name: str) -> None:
        """The process and all that it has started, with -9."""
        process = self._running.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        for name in list(self._running):
            self.kill(name)

    async def customer(self) -> Customer:
        """A tenant of its own, whose first version serves."""
        tenant, _ = await self.control.upsert_tenant(f"acme-{self._seed}", "Acme", "test")
        issued = await self.control.tenants.create_key(tenant.id, "test", sorted(ALL_SCOPES), "test")
        old, new = [await self.approved(tenant.id) for _ in range(2)]
        await self.control.swapper.swap(tenant.id, DEFAULT_ADAPTER, old.id, "test")
        await self.control.workers.wait_for(issued.change, 10.0)
        return Customer(tenant.id, old, new, issued.secret)

    async def working(self, operation: str, customer: Customer, stop_at: str) -> Working:
        """An operation on the customer's versions, in a process, on its way to a step."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.integration.operations",
            operation, customer.id, customer.new.id, stop_at,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **self.plan.environment()},
            cwd=ROOT,
        )  # fmt: skip
        return Working(process)

    async def settled(self) -> None:
        """Every live worker serves the record as it is."""
        await self.control.workers.wait_for(await self.registry.position(), 15.0)

    async def ask(self, customer: Customer) -> httpx.Response:
        body = {
            "model": f"{DEFAULT_ADAPTER}@stable",
            "messages": [{"role": "user", "content": "What are your opening hours?"}],
            "max_tokens": 2,
        }
        headers = {"authorization": f"Bearer {customer.key}"}
        url = f"{self.plan.gateway_url}/v1/chat/completions"
        return await self._http.post(url, json=body, headers=headers, timeout=30)

    async def left(self, customer: Customer) -> None:
        """Nothing of this tenant is wanted in the engines any more."""
        for version in (customer.old, customer.new):
            if (await self.registry.version(version.id)).status is VersionStatus.APPROVED:
                await self.registry.set_status(version.id, VersionStatus.REJECTED)
        await self.registry.move_alias(
            customer.id, DEFAULT_ADAPTER, Alias.STABLE, None, "test", rolled_back=True
        )
        await self.control.canaries.run_once()  # which ends its rollout, whose alias was moved

    async def approved(
        self, tenant_id: str, adapter: str = DEFAULT_ADAPTER, token: int | None = None
    ) -> Version:
        """A version ready to go live: of random weights, or one that says this token without end."""
        self._seed += 1
        directory = self.plan.data_dir / f"made-{self._seed}"
        if token is None:
            files = write_adapter(directory, self._base, self._seed)
        else:
            files = write_repeater(directory, self._base, token)
        artifact = await self.store.put(files)
        lineage = Lineage(self._base.digest, dataset_digest=f"sha256:{self._seed}")
        made = await self.registry.register(tenant_id, adapter, artifact.digest, lineage, {})
        await self.registry.set_status(made.id, VersionStatus.APPROVED)
        return await self.registry.version(made.id)


def _spawned(spec: ProcessSpec, log: Path, scratch: Path) -> subprocess.Popen[bytes]:
    log.parent.mkdir(exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            list(spec.command),
            env=with_scratch(spec.environment, scratch / spec.name),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=tuple(spec.pass_fds),
            start_new_session=True,
        )


def planned(directory: Path, model: Path, **overrides: Any) -> Plan:
    """A whole plan on free ports."""
    ports = {"port": free_port(), "engine_port": free_port(), "admin_port": free_port()}
    told = {"data_dir": directory, "base_model": str(model), "retrieval_url": "http://127.0.0.1:9"}
    settings = launch.read_settings({}, {**told, **ports, **overrides})
    return launch.make_plan(settings, Credentials("internal-token", "gk-admin", "gk-platform"))


@asynccontextmanager
async def town(plan: Plan, more: Sequence[ProcessSpec] = ()) -> AsyncIterator[Town]:
    """Nothing runs yet; ended with everything that was started. more: processes beside those of the plan."""
    (plan.data_dir / "redis").mkdir(parents=True, exist_ok=True)
    await migrate.upgrade(plan.database_url)
    settings = Settings(
        data_dir=plan.data_dir,
        database_url=plan.database_url,
        redis_url=plan.redis_url,
        engine_urls=",".join(plan.engine_urls),
        internal_token=plan.internal_token,
    )
    told = AdaptersSettings(
        data_dir=plan.data_dir, artifacts_url=plan.artifacts_url, base_model=str(plan.base_model)
    )
    with socket.create_server(("127.0.0.1", plan.port)) as listening:
        async with (
            Probes() as probes,
            assembled(settings, told) as control,
            httpx.AsyncClient(trust_env=False) as http,
        ):
            specs = [*services(plan, dict(os.environ), probes, listening.fileno()), *more]
            made = Town(control, describe_base(plan.base_model), http, plan, specs)
            try:
                yield made
            finally:
                made.stop()
