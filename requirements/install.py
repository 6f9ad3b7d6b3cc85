"""Make `.venv` from a lock and put this checkout into it. `make setup` runs it; a second run takes no time.

gpu.lock is for machines with an NVIDIA GPU that its CUDA can use, cpu.lock for all others; an argument `cpu` or `gpu`,
which `make` takes from GRAFT_ACCELERATOR, decides instead. An environment made from the other lock is made anew: pip
takes the CPU build of torch for the CUDA build, and the two builds of vLLM share their directory.

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
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
STAMP = ENVIRONMENT / "graft-setup.sha256"
MADE_FOR = ENVIRONMENT / "graft-accelerator"
LOG = ENVIRONMENT / "graft-setup.log"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"

SUPPORTED = (3, 11)
GLIBC = (2, 31)  # the newest that a wheel in either lock asks for
DRIVER = 580  # the oldest NVIDIA driver that runs CUDA 13, which torch in gpu.lock is built for
CAPABILITY = 7.5  # the oldest GPUs that CUDA 13 compiles for: Turing
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


class Lock(NamedTuple):
    """One of the two locks and what installing it takes."""

    accelerator: str
    download: str
    free_gb: int
    """For what is installed, the downloads in pip's cache, and room to unpack."""

    @property
    def path(self) -> Path:
        return ROOT / "requirements" / f"{self.accelerator}.lock"


LOCKS = {"cpu": Lock("cpu", "0.9 GB", 5), "gpu": Lock("gpu", "about 4 GB", 16)}


def main() -> None:
    """Bring `.venv` to what the lock and pyproject.toml say."""
    check_machine()
    lock, why = choose("".join(sys.argv[1:]) or "auto", query_gpu())
    with Path(__file__).open() as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # two `make` at once: the second waits, then finds it done
        wanted = digest(lock)
        if STAMP.exists() and STAMP.read_text() == wanted and PYTHON.exists():
            return
        say(f"Taking {lock.path.name}: {why}")
        set_up(lock)
        STAMP.write_text(wanted)
    say("Ready: .venv")


def choose(told: str, answer: str) -> tuple:
    """The lock to install and why. told: GRAFT_ACCELERATOR, which may ask for a GPU that is not there: whoever builds
    an image has none. answer: of query_gpu."""
    if told not in ("auto", *LOCKS):
        fail(f"GRAFT_ACCELERATOR is cpu, gpu or auto, not {told!r}.")
    if told != "auto":
        return LOCKS[told], "GRAFT_ACCELERATOR says so"
    unfit = why_unfit(answer)
    return (LOCKS["cpu"], unfit) if unfit else (LOCKS["gpu"], f"found {answer}")


def query_gpu() -> str:
    """Name, driver's version and compute capability of the first GPU, as nvidia-smi tells them, or what it says
    instead. Empty without nvidia-smi, which comes with every driver."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]
    if shutil.which(command[0]) is None:
        return ""
    try:
        output = subprocess.check_output(command, stderr=subprocess.STDOUT, text=True, timeout=60)
    except subprocess.CalledProcessError as error:
        output = error.output
    except (OSError, subprocess.TimeoutExpired) as error:
        output = str(error)
    return (output.strip().splitlines() or ["nothing"])[0]


def why_unfit(answer: str) -> str:
    """Why gpu.lock would not run here; empty where it would."""
    if not answer:
        return "there is no NVIDIA GPU (no nvidia-smi)"
    found = re.match(r"(.+), (\d+)[\d.]*, (\d+\.\d+)$", answer)
    if found is None:
        return f"nvidia-smi shows no GPU: {answer}"
    _, driver, capability = found.groups()
    if int(driver) < DRIVER:
        return f"the NVIDIA driver is older than {DRIVER}, which CUDA 13 needs: {answer}"
    if float(capability) < CAPABILITY:
        return f"CUDA 13 is for GPUs of compute capability {CAPABILITY} and newer: {answer}"
    return ""


def set_up(lock: Lock) -> None:
    """Create, fill and clean the environment."""
    check_space(lock)
    if not environment_is_usable(lock):
        say(f"Creating .venv with Python {platform.python_version()}")
        run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)])
        MADE_FOR.write_text(lock.accelerator)
    if STAMP.exists():
        STAMP.unlink()
    LOG.write_text("")
    pins = locked(lock)
    to_download = f"{lock.download} to download the first time"
    say(f"Installing {len(pins)} locked packages ({to_download}); log: .venv/{LOG.name}")
    if lock.accelerator == "cpu":
        install_torch(pins["torch"])
    pip(*LOCKED_INSTALL, "-r", str(lock.path), total=len(pins))
    strays = sorted(installed() - set(pins) - NOT_STRAYS)
    if strays:
        say(f"Removing what the lock does not name: {', '.join(strays)}")
        pip("uninstall", "--yes", *strays)
    say("Installing this checkout, editable")
    pip(*EDITABLE_INSTALL, "-e", str(ROOT))


def install_torch(requirement: str) -> None:
    """Install the CPU build of torch from the configured indexes or, where they lack it, from PyTorch's own."""
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
        fail(f"The locks are for Linux on x86-64, this is {sys.platform} on {platform.machine()}.")
    libc, version = platform.libc_ver()
    if libc == "glibc" and tuple(int(part) for part in version.split(".")[:2]) < GLIBC:
        fail(f"glibc {'.'.join(map(str, GLIBC))} or newer is needed, this is {version}.")
    if find_spec("venv") is None or find_spec("ensurepip") is None:
        fail(
            "This Python cannot make virtual environments. On Debian and Ubuntu: apt install python3.11-venv"
        )


def check_space(lock: Lock) -> None:
    """End where the environment would not fit, unless there is one already."""
    free = shutil.disk_usage(str(ROOT)).free / 1e9
    if not (LOG.exists() and made_for() == lock.accelerator) and free < lock.free_gb:
        fail(f"{lock.free_gb} GB of free disk space are needed in {ROOT}, there are {free:.1f}.")


def made_for() -> str:
    """Which lock `.venv` was made from; before there were two, it was the CPU's."""
    return MADE_FOR.read_text() if MADE_FOR.exists() else "cpu"


def environment_is_usable(lock: Lock) -> bool:
    """Whether `.venv` holds a supported Python with pip in it, and nothing of the other lock."""
    if made_for() != lock.accelerator:
        return False
    probe = f"import pip, sys; sys.exit(sys.version_info[:2] != {SUPPORTED!r})"
    return PYTHON.exists() and subprocess.call([str(PYTHON), "-c", probe], stderr=subprocess.DEVNULL) == 0


def locked(lock: Lock) -> dict:
    """The lock as {normalised name: its lines}."""
    entries = re.finditer(r"^([a-z0-9._-]+)==.*(?:\n    .*)*", lock.path.read_text(), re.MULTILINE)
    return {normalised(entry.group(1)): entry.group(0) for entry in entries}


def installed() -> set:
    """Normalised names of what `.venv` holds."""
    listing = subprocess.check_output([str(PYTHON), "-m", "pip", "list", "--format=freeze"], text=True)
    return {normalised(line.split("==")[0]) for line in listing.splitlines()}


def normalised(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def digest(lock: Lock) -> str:
    """SHA-256 over what decides the environment's contents, its place and its interpreter included."""
    parts = [path.read_bytes() for path in (lock.path, ROOT / "pyproject.toml", Path(__file__))]
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
