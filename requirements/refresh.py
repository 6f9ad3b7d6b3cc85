"""Re-make cpu.lock and gpu.lock from cpu.in and gpu.in. Run it with `make lock`; `UPGRADE=1` moves to newer versions.

1. A throw-away environment gets `uv`, pinned below, as the resolver.
2. The CPU build of torch is downloaded with pip (the configured indexes first, then PyTorch's CPU index): only that
   index lists `+cpu` builds, and only torch may come from it. Its hash is compared with the one the index
   publishes, where the index can be reached. The CUDA build comes from PyPI like everything else.
3. `uv pip compile` resolves against PyPI without the packages that are left out below, and writes the hash of every
   file that PyPI has for each version. Only wheels: setting up needs no compiler, and locking no GPU.
4. gpu.lock takes the versions of cpu.lock wherever it can, so that what the tests show on a processor holds for both.

Without `UPGRADE=1`, versions that are already in the locks stay. The result is installed with `--no-deps`: see
install.py.
"""

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
import urllib.request
import venv
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
UV = "uv==0.13.8"
PYTHON_VERSION = "3.11"
PLATFORM = "x86_64-manylinux_2_31"  # llguidance has no wheel for an older glibc
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"

EXCLUDED = {
    # Input that is not text. On a processor they do harm as well: the wheels on PyPI are CUDA builds.
    "torchvision": "its CUDA build breaks `import vllm` beside a CPU torch; no image input here",
    "torchaudio": "CUDA build; no audio input here",
    "torchcodec": "CUDA build; no video input here",
    "opencv-python-headless": "150 MB; video input",
    # Large, and imported only by parts of vLLM that Graft does not use.
    "numba": "n-gram speculative decoding",
    "llvmlite": "160 MB; under numba",
    "mistral-common": "Mistral's own tokenizer format",
    "pycountry": "under mistral-common",
    "tiktoken": "tokenizers of other model families",
    # A command line and a cloud client that fastapi[standard] adds.
    "fastapi-cli": "not used: uvicorn is started by `graft up`",
    "fastapi-cloud-cli": "under fastapi-cli",
    "sentry-sdk": "under fastapi-cloud-cli; reports to a third party",
    "rignore": "under fastapi-cloud-cli",
    "fastar": "under fastapi-cloud-cli",
    "detect-installer": "under fastapi-cloud-cli",
    "rich-toolkit": "under fastapi-cli",
}
EXCLUDED_ON_CPU = {
    "triton": "1 GB, compiles GPU kernels; vLLM then says that it uses model runner V1",
    "ninja": "builds GPU kernels",
    "depyf": "explains what torch.compile and CUDA graphs refuse; the engine runs eagerly",
    "astor": "under depyf",
}
EXCLUDED_ON_GPU = {
    "pynvvideocodec": "video input",
}
"""Nothing else of what vLLM asks for there is left out: its kernels choose among these packages by GPU and model, and
that needs a GPU to try."""

HEADER = """\
# Made by requirements/refresh.py (`make lock`) from {source}. Do not edit.
# Complete: install with `pip install --require-hashes --no-deps`, as `make setup` does.
# What is left out, and why: EXCLUDED in refresh.py.
"""


def main() -> None:
    """Resolve and write the locks."""
    arguments = argparse.ArgumentParser(description="Re-make requirements/cpu.lock and gpu.lock.")
    arguments.add_argument("--upgrade", action="store_true", help="move to the newest versions allowed")
    upgrade = arguments.parse_args().upgrade
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        python = resolver_environment(work / "venv")
        uv, wheels = python.with_name("uv"), work / "wheels"
        check_torch(download_torch(python, wheels))
        cpu = "" if upgrade else read("cpu.lock")
        cpu = resolve(
            uv, work, "cpu", EXCLUDED | EXCLUDED_ON_CPU, cpu, "--find-links", wheels, "--no-emit-find-links"
        )
        gpu = "" if upgrade else without(read("gpu.lock"), names(cpu))
        resolve(uv, work, "gpu", EXCLUDED | EXCLUDED_ON_GPU, without(cpu, {"torch"}) + gpu)


def resolver_environment(folder: Path) -> Path:
    """Make a virtual environment with uv in it; returns its interpreter."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", UV)
    return python


def download_torch(python: Path, wheels: Path) -> Path:
    """Fetch the pinned torch wheel through pip; returns its path."""
    pin = re.search(r"^torch==\S+", read("cpu.in"), re.MULTILINE)
    if pin is None:
        sys.exit("cpu.in has no torch pin")
    fetch = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    fetch += ["--dest", wheels, pin[0]]
    if subprocess.run([str(part) for part in fetch], check=False).returncode != 0:
        print(f"The configured indexes have no {pin[0]}; asking {TORCH_INDEX}.")
        run(*fetch, "--extra-index-url", TORCH_INDEX)
    return next(wheels.glob("torch-*.whl"))


def check_torch(wheel: Path) -> None:
    """Compare the wheel with the hash that PyTorch's index publishes; a mismatch ends the run."""
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    try:
        with urllib.request.urlopen(f"{TORCH_INDEX}/torch/", timeout=30) as page:
            listing = page.read().decode()
    except OSError as error:
        print(f"NOT VERIFIED: {TORCH_INDEX} cannot be reached ({error}). torch's hash is {digest}.")
        return
    if f"{wheel.name.replace('+', '%2B')}#sha256={digest}" not in listing:
        sys.exit(f"{wheel.name} is not the file that {TORCH_INDEX} publishes.")
    print("torch's hash is the one that PyTorch publishes.")


def resolve(
    uv: Path, work: Path, name: str, excluded: Iterable[str], preferred: str, *options: object
) -> str:
    """Write the lock `name` with uv; returns its text. preferred: entries of a lock, whose versions stay where they
    can."""
    excludes, made = work / "excluded.txt", work / f"{name}.lock"
    excludes.write_text("".join(f"{package}\n" for package in excluded))
    made.write_text(preferred)
    command = [uv, "pip", "compile", HERE / f"{name}.in", "--output-file", made, "--excludes", excludes]
    command += [
        "--no-annotate",
        "--no-header",
        "--strip-extras",
        "--quiet",
        "--generate-hashes",
        "--only-binary",
        ":all:",
    ]
    command += ["--cache-dir", work / "cache"]
    command += ["--python-version", PYTHON_VERSION, "--python-platform", PLATFORM]
    run(*command, *options)
    text = made.read_text()
    (HERE / f"{name}.lock").write_text(HEADER.format(source=f"{name}.in") + text)
    print(f"{name}.lock: {len(names(text))} packages")
    return text


def read(name: str) -> str:
    """A file of this directory; empty where there is none."""
    path = HERE / name
    return path.read_text() if path.exists() else ""


def names(lock: str) -> set[str]:
    """Packages that a lock names."""
    return set(re.findall(r"^([^\s#]+?)==", lock, re.MULTILINE))


def without(lock: str, packages: set[str]) -> str:
    """The lock's entries, but for those of these packages."""
    entries = re.findall(r"^[^\s#]+?==.*(?:\n    .*)*\n", lock, re.MULTILINE)
    return "".join(entry for entry in entries if not names(entry) & packages)


def run(*command: object) -> None:
    """Run a command; its failure ends the run with its own message."""
    if subprocess.run([str(part) for part in command], check=False).returncode != 0:
        sys.exit(f"failed: {' '.join(str(part) for part in command)}")


if __name__ == "__main__":
    main()
