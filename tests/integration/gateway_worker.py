"""A worker as its supervisor starts it: a process of its own, for what must not take it down."""

import asyncio
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import psutil

from gateway.app import listening
from gateway.settings import Settings
from tests.integration.gateway_house import House
from tests.waiting import until

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Worker:
    """house: makes customers whose clients talk to this process."""

    url: str
    house: House
    process: psutil.Process
    log: Path

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.url.removeprefix("http://").split(":")
        return host, int(port)

    async def idle(self) -> None:
        """Wait until it answers, runs nothing, and holds no lease."""
        async with httpx.AsyncClient(base_url=self.url, timeout=10, trust_env=False) as client:

            async def nothing() -> bool:
                text = (await client.get("/metrics")).text
                running = re.search(r"^graft_inflight (\S+)$", text, re.MULTILINE)
                leases = await self.house.workers.leases()
                return running is not None and float(running[1]) == 0 and not leases

            await until(nothing)
        assert self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE


@asynccontextmanager
async def worker(house: House, *arguments: str, **told: str) -> AsyncIterator[Worker]:
    """arguments: on its command line. told: settings by their name without `GRAFT_`, in lower case."""
    listener = listening("127.0.0.1", 0)
    log = house.settings.data_dir / "worker.log"
    process = spawned(listener, environment(house.settings, told), log, arguments)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    try:
        await ready(url, process)
        yield Worker(url, replace(house, url=url), psutil.Process(process.pid), log)
    finally:
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)


def spawned(
    listener: socket.socket, told: dict[str, str], log: Path, arguments: Sequence[str] = ()
) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "gateway.app", "--fd", str(listener.fileno()), *arguments]
    with log.open("wb") as output:
        return subprocess.Popen(
            command, env=told, cwd=ROOT, stdout=output, stderr=output, pass_fds=[listener.fileno()]
        )


def environment(settings: Settings, told: dict[str, str]) -> dict[str, str]:
    given = {
        "data_dir": str(settings.data_dir),
        "database_url": settings.database_url,
        "redis_url": settings.redis_url,
        "engine_urls": settings.engine_urls,
        "retrieval_url": settings.retrieval_url,
        "internal_token": settings.internal_token.get_secret_value(),
        **told,
    }
    return {"PYTHONUNBUFFERED": "1", **{f"GRAFT_{name.upper()}": value for name, value in given.items()}}


async def ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    async with httpx.AsyncClient(base_url=url, timeout=2, trust_env=False) as client:

        async def answers() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"the worker ended with {process.returncode}")
            try:
                return (await client.get("/healthz")).status_code == 200
            except httpx.HTTPError:
                return False

        await until(answers)


def raw(address: tuple[str, int], *parts: bytes, timeout_s: float = 10.0) -> bytes:
    """What comes back for these bytes until the connection is closed."""
    received = b""
    with socket.create_connection(address, timeout=timeout_s) as connection:
        try:
            for part in parts:
                connection.sendall(part)
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionError:
            pass
    return received
