"""Re-make cpu.lock from cpu.in. Run it with `make lock`; add `UPGRADE=1` to move to newer versions.

1. A throw-away environment gets `uv`, pinned below, as the resolver.
2. The torch wheel is downloaded with pip (the configured indexes first, then PyTorch's CPU index): only that
   index lists `+cpu` builds, and only torch may come from it. Its hash is compared with the one the index
   publishes, where the index can be reached.
3. `uv pip compile` resolves cpu.in against PyPI without the packages in `EXCLUDED`, and writes the hash of
   every file that PyPI has for each version. Only wheels: setting up needs no compiler.

Without `UPGRADE=1`, versions that are already in the lock stay. The result is installed with `--no-deps`: see
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
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE, LOCK = HERE / "cpu.in", HERE / "cpu.lock"
UV = "uv==0.13.8"
PYTHON_VERSION = "3.11"
PLATFORM = "x86_64-manylinux_2_31"  # llguidance has no wheel for an older glibc
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"

EXCLUDED = {
    # Wrong on a CPU: wheels on PyPI are CUDA builds.
    "torchvision": "its CUDA build breaks `import vllm` beside a CPU torch; no image input here",
    "torchaudio": "CUDA build; no audio input here",
    "torchcodec": "CUDA build; no video input here",
    "triton": "1 GB, compiles GPU kernels; vLLM then says that it uses model runner V1",
    # Large, and imported only by parts of vLLM that Graft does not use.
    "opencv-python-headless": "150 MB; video input",
    "numba": "n-gram speculative decoding",
    "llvmlite": "160 MB; under numba",
    "mistral-common": "Mistral's own tokenizer format",
    "pycountry": "under mistral-common",
    "tiktoken": "tokenizers of other model families",
    "depyf": "debugging of torch.compile",
    "astor": "under depyf",
    "ninja": "builds GPU kernels",
    # A command line and a cloud client that fastapi[standard] adds.
    "fastapi-cli": "not used: uvicorn is started by `graft up`",
    "fastapi-cloud-cli": "under fastapi-cli",
    "sentry-sdk": "under fastapi-cloud-cli; reports to a third party",
    "rignore": "under fastapi-cloud-cli",
    "fastar": "under fastapi-cloud-cli",
    "detect-installer": "under fastapi-cloud-cli",
    "rich-toolkit": "under fastapi-cli",
}

HEADER = """\
# Made by requirements/refresh.py (`make lock`) from cpu.in. Do not edit.
# Complete: install with `pip install --require-hashes --no-deps`, as `make setup` does.
# What is left out, and why: EXCLUDED in refresh.py.
"""


def main() -> None:
    """Resolve and write the lock."""
    arguments = argparse.ArgumentParser(description="Re-make requirements/cpu.lock.")
    arguments.add_argument("--upgrade", action="store_true", help="move to the newest versions cpu.in allows")
    upgrade = arguments.parse_args().upgrade
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        python = resolver_environment(work / "venv")
        wheels = work / "wheels"
        check_torch(download_torch(python, wheels))
        excludes = work / "excluded.txt"
        excludes.write_text("\n".join(EXCLUDED) + "\n")
        resolve(python.with_name("uv"), wheels, excludes, upgrade=upgrade)
    LOCK.write_text(HEADER + LOCK.read_text())
    print(f"{LOCK.name}: {len(re.findall(r'^[^ #].*==', LOCK.read_text(), re.MULTILINE))} packages")


def resolver_environment(folder: Path) -> Path:
    """Make a virtual environment with uv in it; returns its interpreter."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", UV)
    return python


def download_torch(python: Path, wheels: Path) -> Path:
    """Fetch the pinned torch wheel through pip; returns its path."""
    pin = re.search(r"^torch==\S+", SOURCE.read_text(), re.MULTILINE)
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


def resolve(uv: Path, wheels: Path, excludes: Path, *, upgrade: bool) -> None:
    """Write LOCK with uv."""
    command = [uv, "pip", "compile", SOURCE, "--output-file", LOCK, "--excludes", excludes]
    command += ["--find-links", wheels, "--no-emit-find-links", "--no-annotate", "--no-header", "--quiet"]
    command += ["--python-version", PYTHON_VERSION, "--python-platform", PLATFORM, "--only-binary", ":all:"]
    command += ["--generate-hashes"]
    run(*command, *(["--upgrade"] if upgrade else []))


def run(*command: object) -> None:
    """Run a command; its failure ends the run with its own message."""
    if subprocess.run([str(part) for part in command], check=False).returncode != 0:
        sys.exit(f"failed: {' '.join(str(part) for part in command)}")


if __name__ == "__main__":
    main()
