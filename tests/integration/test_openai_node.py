"""OpenAI's own Node client against the gateway and a real engine: `tests/node/conformance.test.mjs`."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.demo.serving import RunningEngine
from gateway.keys import ALL_SCOPES
from gateway.policy import Caps
from tests.integration.gateway_house import Customer, House, house

NODE = Path(__file__).parents[1] / "node"
INSTALLED = NODE / "node_modules" / ".package-lock.json"
OLDEST = 20

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def package() -> Path:
    """The client as the lock names it, installed where git does not look."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("there is no node, or no npm, on PATH")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.removeprefix("v").split(".")[0]) < OLDEST:
        pytest.skip(f"node {version.strip()} is older than {OLDEST}")
    lock = NODE / "package-lock.json"
    if not INSTALLED.exists() or INSTALLED.stat().st_mtime < lock.stat().st_mtime:
        command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=NODE, capture_output=True, text=True, timeout=120)
        if done.returncode:
            pytest.skip(f"`npm ci` failed, is there a registry? {done.stderr[-300:]}")
        INSTALLED.touch()
    return NODE


async def key_of(built: House, customer: Customer, name: str, limits: Caps) -> str:
    scopes = sorted(ALL_SCOPES)
    issued = await built.tenants.create_key(customer.id, name, scopes, "test", limits=limits)
    await built.applied(issued.change)
    return issued.secret


async def test_openais_node_client_works_unchanged(
    package: Path, engine: RunningEngine, tmp_path: Path
) -> None:
    async with house(tmp_path, engine.url, engine.token) as built, built.customer("acme") as acme:
        told = {
            "GRAFT_URL": built.url,
            "GRAFT_ENGINE_URL": engine.url,
            "GRAFT_KEY": acme.client.headers["authorization"].removeprefix("Bearer "),
            "GRAFT_LIMITED_KEY": await key_of(built, acme, "limited", Caps(requests_per_minute=40)),
            "GRAFT_SPENT_KEY": await key_of(built, acme, "spent", Caps(tokens_per_day=1)),
        }
        process = await asyncio.create_subprocess_exec(
            "node",
            "--test",
            "conformance.test.mjs",
            cwd=package,
            env={**os.environ, **told},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
