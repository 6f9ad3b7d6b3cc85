"""Copying an adapter's files out of a store, in a process of its own (`python -m adapters.copying`): a store that hangs
holds whoever asks it, and only a process can be ended."""

import contextlib
import json
import signal
import ssl
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec

from adapters.archives import KEPT
from adapters.errors import AdaptersError, AdapterTooLarge, InvalidAdapter, SourceRefused
from adapters.validation import refuse_code

_CHUNK = 1024**2
_MOST_SECONDS = 2**31 - 2
"""That an alarm can be set to."""


def copy(uri: str, target: Path, limit: int, folders: Sequence[str]) -> None:
    """An archive, or a folder's files that an import keeps. folders: what a `file` URI may lead into.

    Raises SourceRefused, AdapterTooLarge, InvalidAdapter.
    """
    parts = urlsplit(uri)
    with translated(parts.scheme):
        if parts.scheme == "file" and not _within(Path(parts.path).resolve(), folders):
            raise SourceRefused("The path leads over a link out of what GRAFT_IMPORT_SOURCES names.")
        fs, path = fsspec.core.url_to_fs(uri)
        if _is_folder(fs, path):
            target.mkdir()
            for entry in fs.ls(path, detail=True):
                limit -= _copy_entry(fs, entry, target, limit)
        else:
            _copy_file(fs, path, target, limit)


def _within(path: Path, folders: Sequence[str]) -> bool:
    return any(path.is_relative_to(Path(folder).resolve()) for folder in folders)


def _is_folder(fs: Any, path: str) -> bool:
    kind = fs.info(path)["type"]
    if kind not in ("file", "directory"):
        raise SourceRefused("The source is neither a file nor a folder.")
    return bool(kind == "directory")


def _copy_entry(fs: Any, entry: Mapping[str, Any], target: Path, limit: int) -> int:
    """Bytes copied: none for a file that an import does not keep."""
    name = str(entry["name"]).rstrip("/").rpartition("/")[2]
    refuse_code(name)
    if name not in KEPT:
        return 0
    if entry["type"] != "file" or entry.get("islink"):
        raise InvalidAdapter("only plain files are allowed", name)
    return _copy_file(fs, entry["name"], target / name, limit)


def _copy_file(fs: Any, path: str, target: Path, limit: int) -> int:
    size = 0
    with fs.open(path, "rb") as source, target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > limit:
                raise AdapterTooLarge(limit, "The files")
            file.write(chunk)
    return size


@contextlib.contextmanager
def translated(scheme: str) -> Iterator[None]:
    """What a store or a network says becomes ours, by its kind alone: its text may hold a signed address."""
    try:
        yield
    except AdaptersError:
        raise
    except ImportError as error:
        raise SourceRefused(
            f"This scheme needs a package that is not installed: {error.name or error}."
        ) from error
    except TimeoutError as error:
        raise SourceRefused("The source took too long.") from error
    except Exception as error:  # each store's client has errors of its own
        if (flaw := _certificate_flaw(error)) is not None:
            names_it = "AWS_CA_BUNDLE" if scheme == "s3" else "SSL_CERT_FILE"
            raise SourceRefused(
                f"The source's certificate is not trusted: {flaw}. {names_it} may name who is."
            ) from error
        raise SourceRefused(f"The source cannot be read ({type(error).__name__}).") from error


def _certificate_flaw(error: BaseException | None) -> str | None:
    """What TLS has against a certificate, where that is what an error comes from."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message.rstrip(".")
        error = error.__cause__ or error.__context__
    return None


def main() -> None:
    """Standard input says what to copy where; standard output gets a refusal: its kind, reason and param. Where nobody
    is left to end the process, it ends by itself."""
    order = json.load(sys.stdin)
    signal.alarm(int(min(order["seconds"], _MOST_SECONDS)) + 1)
    try:
        copy(order["uri"], Path(order["target"]), order["limit"], order["folders"])
    except InvalidAdapter as error:
        json.dump([type(error).__name__, error.reason, error.param], sys.stdout)
    except SourceRefused as error:
        json.dump([SourceRefused.__name__, str(error), SourceRefused.param], sys.stdout)


if __name__ == "__main__":
    main()
