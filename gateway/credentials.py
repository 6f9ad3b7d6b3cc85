"""The secrets of one data directory: made once, readable by its owner only, found again at the next start."""

import contextlib
import json
import os
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from gateway.keys import mint
from gateway.launch_errors import LaunchError

FILE_NAME = "secrets.json"


@dataclass(frozen=True)
class Credentials:
    """`internal_token` is the bearer token between our processes and for the engine; `admin_key` opens the
    admin API; `platform_key` opens the data plane for any tenant named in `X-Tenant-Id`."""

    internal_token: str
    admin_key: str
    platform_key: str


def load(data_dir: Path) -> Credentials | None:
    """What an earlier start has made, or None. Raises LaunchError when the file is damaged."""
    path = data_dir / FILE_NAME
    if not path.exists():
        return None
    try:
        stored = json.loads(path.read_text())
        return Credentials(**{field.name: str(stored[field.name]) for field in fields(Credentials)})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LaunchError(
            f"{path} cannot be read ({type(error).__name__}).",
            fix="Restore it from a backup, or delete it: new keys are made, the old ones stop working.",
        ) from error


def load_or_create(data_dir: Path, *, internal_token: str = "", admin_key: str = "") -> Credentials:
    """This data directory's credentials; values that were configured win over stored ones and are not
    stored."""
    stored = load(data_dir)
    if stored is None:
        stored = Credentials(secrets.token_hex(32), mint().secret, mint().secret)
        _write(data_dir / FILE_NAME, stored)
    return Credentials(
        internal_token or stored.internal_token, admin_key or stored.admin_key, stored.platform_key
    )


def _write(path: Path, credentials: Credentials) -> None:
    """Owner-only from its first byte, and whole or not there at all."""
    temporary = path.with_suffix(".new")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(credentials), file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
