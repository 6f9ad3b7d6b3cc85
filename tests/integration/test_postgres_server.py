"""The tests' own PostgreSQL leaves nothing behind."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import pytest

from tests.postgres import Postgres, reachable

SESSION = """
import sys, time
from pathlib import Path
from tests.postgres import serving
with serving(Path(sys.argv[1])):
    print("up", flush=True)
    time.sleep(600)
"""


def test_a_block_that_raises_leaves_no_database(postgres_server: Postgres) -> None:
    with pytest.raises(ZeroDivisionError), postgres_server.database() as url:
        psycopg.connect(url).close()
        raise ZeroDivisionError
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)


def test_a_place_that_not_everybody_may_enter_is_named(tmp_path: Path) -> None:
    place = tmp_path / "closed" / "open"
    place.mkdir(parents=True)
    place.parent.chmod(0o700)
    with pytest.raises(RuntimeError, match=r"may not enter .*/closed: .*TMPDIR"):
        reachable(place)


def test_the_server_ends_with_a_session_that_is_killed() -> None:
    with tempfile.TemporaryDirectory(prefix="graft-postgres-") as directory:
        command = [sys.executable, "-c", SESSION, directory]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as session:
            assert session.stdout is not None and session.stdout.readline() == "up\n"
            running = Path(directory, "data", "postmaster.pid")
            assert running.exists()
            session.kill()
        deadline = time.monotonic() + 20
        while running.exists():
            assert time.monotonic() < deadline, "the server goes on"
            time.sleep(0.02)
