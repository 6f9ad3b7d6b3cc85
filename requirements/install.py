"""Make `.venv` from the lock and put this checkout into it. `make setup` runs it; a second run takes no time.

The lock is installed as it stands (`--require-hashes --no-deps`, wheels only: nothing is resolved, nothing is
compiled), distributions that it does not name are removed, and the project is installed editable. A stamp in
`.venv` holds the digest of everything that decided its contents: while it holds, there is nothing to do.

Only the standard library, and Python 3.7's syntax: an older Python shall reach the sentence that refuses it.
"""

import fcntl
import hashlib
import platform
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "requirements" / "cpu.in"
LOCK = ROOT / "requirements" / "cpu.lock"
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
STAMP = ENVIRONMENT / "graft-setup.sha256"
LOG = ENVIRONMENT / "graft-setup.log"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"

SUPPORTED = (3, 11)
GLIBC = (2, 31)  # the newest that a wheel in the lock asks for
FREE_GB = 5  # 2.9 GB installed, 0.9 GB of downloads in pip's cache, and room to unpack
PACKAGE_LINES = ("Collecting ", "Processing ", "Requirement already satisfied: ")
NOT_STRAYS = {"pip", "graft"}
LOCKED_INSTALL = ("install", "--require-hashes", "--no-deps", "--only-binary=:all:")
EDITABLE_INSTALL = (
    "install",
    "--no-deps",
    "--no-build-isolation",
    "--config-settings",
    "editable_mode=compat",
)


def main() -> None:
    """Bring `.venv` to what the lock and pyproject.toml say."""
    check_machine()
    with SOURCE.open() as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # two `make` at once: the second waits, then finds it done
        wanted = digest()
        if STAMP.exists() and STAMP.read_text() == wanted and PYTHON.exists():
            return
        set_up()
        STAMP.write_text(wanted)
    say("Ready: .venv")


def set_up() -> None:
    """Create, fill and clean the environment."""
    check_space()
    if not environment_is_usable():
        say(f"Creating .venv with Python {platform.python_version()}")
        run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)])
    if STAMP.exists():
        STAMP.unlink()
    LOG.write_text("")
    pins = locked()
    say(f"Installing {len(pins)} locked packages (0.9 GB to download the first time); log: .venv/{LOG.name}")
    install_torch(pins["torch"])
    pip(*LOCKED_INSTALL, "-r", str(LOCK), total=len(pins))
    strays = sorted(installed() - set(pins) - NOT_STRAYS)
    if strays:
        say(f"Removing what the lock does not name: {', '.join(strays)}")
        pip("uninstall", "--yes", *strays)
    say("Installing this checkout, editable")
    pip(*EDITABLE_INSTALL, "-e", str(ROOT))


def install_torch(requirement: str) -> None:
    """Install torch from the configured indexes or, where they lack the CPU build, from PyTorch's own."""
    part = ENVIRONMENT / "torch.lock"
    part.write_text(requirement)
    if pip(*LOCKED_INSTALL, "-r", str(part), check=False) != 0:
        say(f"The configured package indexes have no CPU build of torch; asking {TORCH_INDEX}")
        pip(*LOCKED_INSTALL, "-r", str(part), "--extra-index-url", TORCH_INDEX)
    part.unlink()


def check_machine() -> None:
    """End with a clear sentence where the locked wheels cannot run."""
    if sys.version_info[:2] != SUPPORTED:
        have = f"{platform.python_version()} ({sys.executable})"
        fail(f"Python 3.11 is needed, this is {have}. Name one: make setup PYTHON=/path/to/python3.11")
    if sys.platform != "linux" or platform.machine() != "x86_64":
        fail(f"The lock is for Linux on x86-64, this is {sys.platform} on {platform.machine()}.")
    libc, version = platform.libc_ver()
    if libc == "glibc" and tuple(int(part) for part in version.split(".")[:2]) < GLIBC:
        fail(f"glibc {'.'.join(map(str, GLIBC))} or newer is needed, this is {version}.")
    if find_spec("venv") is None or find_spec("ensurepip") is None:
        fail(
            "This Python cannot make virtual environments. On Debian and Ubuntu: apt install python3.11-venv"
        )


def check_space() -> None:
    """End where the environment would not fit, unless there is one already."""
    free = shutil.disk_usage(str(ROOT)).free / 1e9
    if not LOG.exists() and free < FREE_GB:
        fail(f"{FREE_GB} GB of free disk space are needed in {ROOT}, there are {free:.1f}.")


def environment_is_usable() -> bool:
    """Whether `.venv` holds a supported Python with pip in it."""
    probe = f"import pip, sys; sys.exit(sys.version_info[:2] != {SUPPORTED!r})"
    return PYTHON.exists() and subprocess.call([str(PYTHON), "-c", probe], stderr=subprocess.DEVNULL) == 0


def locked() -> dict:
    """The lock as {normalised name: its lines}."""
    entries = re.finditer(r"^([a-z0-9._-]+)==.*(?:\n    .*)*", LOCK.read_text(), re.MULTILINE)
    return {normalised(entry.group(1)): entry.group(0) for entry in entries}


def installed() -> set:
    """Normalised names of what `.venv` holds."""
    listing = subprocess.check_output([str(PYTHON), "-m", "pip", "list", "--format=freeze"], text=True)
    return {normalised(line.split("==")[0]) for line in listing.splitlines()}


def normalised(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def digest() -> str:
    """SHA-256 over what decides the environment's contents, its place and its interpreter included."""
    parts = [path.read_bytes() for path in (LOCK, ROOT / "pyproject.toml", Path(__file__))]
    parts += [str(ROOT).encode(), platform.python_version().encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def pip(*arguments: str, total: int = 0, check: bool = True) -> int:
    """Run the environment's pip; returns its exit status.

    Everything goes into the log; with `total`, so does a count of packages to the screen.
    """
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", *arguments]
    with LOG.open("a") as log:
        log.write(f"$ {' '.join(command)}\n")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        done = 0
        for line in process.stdout or ():
            log.write(line)
            log.flush()
            if total and line.startswith(PACKAGE_LINES):
                done += 1
                show_progress(done, total)
            elif total and line.startswith("Installing collected packages"):
                say("Unpacking")
        status = process.wait()
    if check and status != 0:
        end = "".join(LOG.read_text().splitlines(keepends=True)[-15:])
        fail(f"pip failed. The end of .venv/{LOG.name}:\n{end}")
    return status


def show_progress(done: int, total: int) -> None:
    """Say how far the download is: in place on a terminal, every fortieth package elsewhere."""
    if sys.stdout.isatty():
        print(f"\r  {done}/{total} packages", end="\n" if done == total else "", flush=True)
    elif done == total or done % 40 == 0:
        say(f"  {done}/{total} packages")


def run(command: list) -> None:
    """Run a command; its failure ends the set-up."""
    if subprocess.call(command) != 0:
        fail(f"failed: {' '.join(command)}")


def say(text: str) -> None:
    """One line about what happens now."""
    print(f"setup: {text}", flush=True)


def fail(text: str) -> None:
    """End the set-up with a reason."""
    sys.exit(f"setup: {text}")


if __name__ == "__main__":
    main()
