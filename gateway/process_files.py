"""What a supervised process leaves on disk, bounded."""

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path

LOG_BYTES = 32 * 1024 * 1024
"""A log that is larger when its process starts is set aside as `.log.1`."""


def last_lines(path: Path, count: int = 12, window: int = 16_384) -> list[str]:
    """The end of a log, for an error message."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - window))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except OSError:
        return []


def rotate(log: Path) -> None:
    """Bound what restarts can add to a log."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))


def with_scratch(environment: Mapping[str, str], directory: Path) -> dict[str, str]:
    """The environment of a process whose temporary files go into that directory, which is emptied of a
    predecessor's: one that is killed cannot remove them."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {**environment, "TMPDIR": str(directory)}
