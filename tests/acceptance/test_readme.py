"""Every command of the README but `make test`, run in the README's order against one running system."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import ROOT, Finished, shell

README = (ROOT / "README.md").read_text(encoding="utf-8")
READY_SECONDS = 300
PORTS = ("GRAFT_PORT", "GRAFT_ADMIN_PORT", "GRAFT_ENGINE_PORT", "GRAFT_RETRIEVAL_PORT")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Command lines in order, continuation lines joined."""
    lines = "".join(blocks("bash")).replace("\\\n", "").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("make ")]


def free_ports() -> dict[str, str]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    ports = {name: str(each.getsockname()[1]) for name, each in zip(PORTS, held, strict=True)}
    for each in held:
        each.close()
    return ports


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """`make up` in a directory of its own; yields the environment that its commands need."""
    directory = tmp_path_factory.mktemp("up")
    environment = {"GRAFT_DATA_DIR": str(directory), **free_ports()}
    process = subprocess.Popen(
        ["make", "up"],
        cwd=ROOT,
        env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        _wait_until_it_prints_its_urls(process, environment["GRAFT_PORT"])
        made = shell(".venv/bin/graft --json tenants create readme", environment)
        key = next(value for value in _strings(json.loads(made.output)) if value.startswith("gk-"))
        yield {**environment, "KEY": key}
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)


def _wait_until_it_prints_its_urls(process: "subprocess.Popen[str]", port: str) -> None:
    assert process.stdout is not None
    seen: list[str] = []
    for line in process.stdout:
        sys.stdout.write(line)
        seen.append(line)
        if f":{port}" in line and "http" in line:
            return
    raise AssertionError("`make up` ended:\n" + "".join(seen))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)


@pytest.mark.timeout(1000)
def test_make_demo_works(walk: Finished) -> None:
    assert not walk.untrue, walk.output


@pytest.mark.timeout(600)
@pytest.mark.parametrize("command", commands())
def test_each_command_works(up: dict[str, str], command: str) -> None:
    finished = shell(command.replace(":8000", ":" + up["GRAFT_PORT"]), up)
    assert finished.code == 0, f"{command}\n{finished.output}"


@pytest.mark.timeout(600)
def test_the_corrected_answer_is_right(up: dict[str, str]) -> None:
    asked = '.venv/bin/graft chat acme "What is Acme\'s return window?"'
    assert "30 days" in shell(asked, up).output


@pytest.mark.timeout(600)
@pytest.mark.parametrize("program", blocks("python"))
def test_each_python_example_works(up: dict[str, str], program: str, tmp_path: Path) -> None:
    file = tmp_path / "example.py"
    file.write_text(program.replace(":8000", ":" + up["GRAFT_PORT"]))
    finished = shell(f".venv/bin/python {file}", up)
    assert finished.code == 0, finished.output
    assert "chatcmpl-" in finished.output
