"""What a supervised process leaves on disk, bounded."""

import contextlib
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
