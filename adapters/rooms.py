"""Directories to work in, which go with everything in them: at the latest a day after whoever made one was killed."""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ABANDONED_SECONDS = 24 * 3600.0
_PREFIX = ".room-"


@contextlib.contextmanager
def room(within: Path) -> Iterator[Path]:
    """An empty directory below `within`, gone when the block is left."""
    within.mkdir(parents=True, exist_ok=True)
    for old in within.glob(f"{_PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):
            if old.stat().st_mtime < time.time() - ABANDONED_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=within, prefix=_PREFIX, ignore_cleanup_errors=True) as made:
        yield Path(made)
