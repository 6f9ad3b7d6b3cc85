"""The walk runs once; the tests that look at it share its outcome."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WALK_SECONDS = 900


@dataclass(frozen=True)
class Finished:
    code: int
    output: str

    @property
    def untrue(self) -> list[str]:
        """Claims of the demo that did not hold."""
        return [line.strip() for line in self.output.splitlines() if line.strip().startswith("✗")]


def shell(command: str, environment: dict[str, str] | None = None, timeout: float = 300) -> Finished:
    """Run a command line as the README gives it, from the checkout's root."""
    finished = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Finished(finished.returncode, finished.stdout)


@pytest.fixture(scope="session")
def walk() -> Finished:
    """`make demo`, as a new user runs it; how long it took is for `make study` to judge."""
    finished = shell("make demo ARGS=--untimed", timeout=WALK_SECONDS)
    sys.stdout.write(finished.output)
    return finished
