"""Adapters as one file: unpacking what others send, packing what leaves.

Whatever a member calls itself, it is written only under one of three fixed names, so that no name can lead out
of the folder. Names that try are refused all the same: whoever made them meant harm, or lost files.
"""

import gzip
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO

from adapters.errors import AdapterTooLarge, InvalidAdapter
from adapters.peft_config import CONFIG
from adapters.validation import WEIGHTS, refuse_code

LINEAGE = "lineage.json"
KEPT = frozenset({CONFIG, WEIGHTS, LINEAGE})
"""What an import keeps. Tokenizers, cards and the like are passed over: the base model has its own."""
MAX_MEMBERS = 256
MAX_RATIO = 100
"""Trained weights hardly shrink; what unpacks to a hundred times its size was made to fill a disk."""
_RATIO_FREE_BYTES = 4 * 1024**2
_CHUNK = 1024**2
_MAX_TAR_HEADERS = 4 * 1024**2
"""Bytes of all of them together. A reader remembers what they say."""
_ZIP_END = 22
"""Bytes of a zip's end record without a comment."""
_MAX_ZIP_DIRECTORY = 1024**2
_BROKEN = (OSError, EOFError, LookupError, OverflowError, RuntimeError, ValueError, struct.error, zlib.error)
_BROKEN_TAR = (tarfile.TarError, *_BROKEN)
_BROKEN_ZIP = (zipfile.BadZipFile, *_BROKEN)


def unpack(archive: Path, into: Path, limit: int) -> None:
    """The kept files of a `.tar`, `.tar.gz` or `.zip` into an empty folder; a gzip also leaves its tar beside.

    limit: bytes that everything together may unpack to. Raises InvalidAdapter naming the member at fault.
    """
    with archive.open("rb") as file:
        magic = file.read(4)
    if magic.startswith(b"PK"):
        _unzip(archive, into, limit)
    elif magic.startswith(b"\x1f\x8b"):
        plain = into.with_name("unpacked.tar")
        _gunzip(archive, plain, limit)
        _untar(plain, into, limit)
    else:
        _untar(archive, into, limit)


def packed(
    sizes: Mapping[str, int], contents: Mapping[str, Iterator[bytes]], lineage: bytes
) -> Iterator[bytes]:
    """A `.tar.gz` of these files and the lineage; the same files give the same bytes.

    sizes: bytes of each, which its content must come to.
    """
    squeeze = zlib.compressobj(1, zlib.DEFLATED, 31)
    for name, size in sorted(sizes.items()):
        yield squeeze.compress(_header(name, size))
        for chunk in contents[name]:
            yield squeeze.compress(chunk)
        yield squeeze.compress(bytes(-size % tarfile.BLOCKSIZE))
    yield squeeze.compress(_header(LINEAGE, len(lineage)))
    yield squeeze.compress(lineage + bytes(-len(lineage) % tarfile.BLOCKSIZE))
    yield squeeze.compress(bytes(2 * tarfile.BLOCKSIZE))
    yield squeeze.flush()


def _header(name: str, size: int) -> bytes:
    """Without a time, an owner or anything else of where it was packed."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.USTAR_FORMAT)


class _Folder:
    """Where members go, and the bounds on all of them together."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._left = limit
        self._limit = limit
        self._names: set[str] = set()
        self._parents: set[PurePosixPath] = set()

    def admit(self, name: str) -> str:
        """The file's own name, once it is a fair one; what macOS puts beside files keeps its path, which is none of
        those that are kept. Raises InvalidAdapter."""
        path = fair(name)
        if not path.name:
            raise InvalidAdapter("has no name", _shown(name))
        refuse_code(path.name)
        own = path.name
        if path.parts[0] == "__MACOSX" or own.startswith("._"):
            own = str(path)
        else:
            self._parents.add(path.parent)
            if len(self._parents) > 1 or len(path.parts) > 2:
                raise InvalidAdapter("the archive must hold one flat folder", _shown(name))
        if own in self._names:
            raise InvalidAdapter("is in the archive twice", own)
        self._names.add(own)
        if len(self._names) > MAX_MEMBERS:
            raise InvalidAdapter(f"the archive holds more than {MAX_MEMBERS} files", "file")
        return own

    def take(self, name: str, content: IO[bytes], size: int) -> None:
        """Counts what comes out, not what the archive says would: `size`. Raises InvalidAdapter."""
        if name not in KEPT:
            return
        before = self._left
        with (self._path / name).open("xb") as file:
            while chunk := content.read(_CHUNK):
                self._left -= len(chunk)
                if self._left < 0:
                    raise AdapterTooLarge(self._limit, "The unpacked files")
                file.write(chunk)
        if before - self._left != size:
            raise InvalidAdapter("is not of the size that the archive says", name)


def fair(name: str) -> PurePosixPath:
    """Raises InvalidAdapter for a name that leads out of the archive or could not be shown."""
    path = PurePosixPath(name)
    if "\\" in name or not name.isprintable():
        raise InvalidAdapter("has a name with characters that no file of an adapter has", _shown(name))
    if path.is_absolute() or ".." in path.parts:
        raise InvalidAdapter("leads out of the archive", _shown(name))
    return path


def _shown(name: str) -> str:
    return repr(name[:100])


def _gunzip(archive: Path, target: Path, limit: int) -> None:
    most = min(limit, _RATIO_FREE_BYTES + MAX_RATIO * archive.stat().st_size)
    done = 0
    try:
        with gzip.open(archive, "rb") as source, target.open("xb") as file:
            while chunk := source.read(_CHUNK):
                done += len(chunk)
                if done > most:
                    raise _bomb() if most < limit else AdapterTooLarge(limit, "The unpacked archive")
                file.write(chunk)
    except _BROKEN as error:
        raise InvalidAdapter(f"the archive is damaged ({type(error).__name__})", "file") from error


def _bomb() -> InvalidAdapter:
    return InvalidAdapter(f"unpacks to more than {MAX_RATIO} times its size", "file")


class _Forward:
    """A file for `tarfile` that a crafted header can neither send back, into a loop, nor make read at once
    what should come in pieces; nor do headers without end fill the memory.

    left: bytes that may still be read: of headers, and of the contents that were taken on.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.tell = file.tell
        self.left = _MAX_TAR_HEADERS

    def seek(self, position: int) -> int:
        if position < self._file.tell() - 1:
            raise tarfile.ReadError("an offset leads backwards")
        return self._file.seek(position)

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= min(_CHUNK, self.left):
            raise tarfile.ReadError("a header is too large")
        self.left -= size
        return self._file.read(size)


def _untar(archive: Path, into: Path, limit: int) -> None:
    folder = _Folder(into, limit)
    try:
        with archive.open("rb") as file:
            forward = _Forward(file)
            with tarfile.open(fileobj=forward, mode="r:") as tar:  # type: ignore[call-overload]
                for member in tar:
                    _take_tar(tar, member, folder, forward)
    except _BROKEN_TAR as error:
        reason = f"is neither a tar, a tar.gz nor a zip, or it is damaged ({type(error).__name__})"
        raise InvalidAdapter(reason, "file") from error


def _take_tar(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: _Folder, forward: _Forward) -> None:
    if member.isdir():
        fair(member.name)
        return
    if not member.isreg() or member.issparse():
        raise InvalidAdapter(
            "is a link, a device or a sparse file; only plain files are allowed", _shown(member.name)
        )
    name = folder.admit(member.name)
    content = tar.extractfile(member)
    assert content is not None
    if name in KEPT:
        forward.left += max(0, member.size)
    folder.take(name, content, member.size)


def _unzip(archive: Path, into: Path, limit: int) -> None:
    _check_zip_end(archive)
    folder = _Folder(into, limit)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            size = sum(member.file_size for member in members)
            if size > _RATIO_FREE_BYTES + MAX_RATIO * archive.stat().st_size:
                raise _bomb()
            for member in members:
                _take_zip(opened, member, folder)
    except _BROKEN_ZIP as error:
        raise InvalidAdapter(f"the zip is damaged ({type(error).__name__})", "file") from error


def _take_zip(opened: zipfile.ZipFile, member: zipfile.ZipInfo, folder: _Folder) -> None:
    """The upper half of a zip's attributes is a Unix mode: a link is a plain member but for it."""
    if member.filename.endswith("/"):
        fair(member.filename)
        return
    kind = (member.external_attr >> 16) & 0o170000
    if kind not in (0, 0o100000):
        raise InvalidAdapter("is a link or a device; only plain files are allowed", _shown(member.filename))
    if member.flag_bits & 0x1:
        raise InvalidAdapter("is encrypted", _shown(member.filename))
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InvalidAdapter("is compressed in a way that is not read here", _shown(member.filename))
    if member.header_offset + member.compress_size > opened.start_dir:
        raise InvalidAdapter("reaches into what is not its own", _shown(member.filename))
    name = folder.admit(member.filename)
    with opened.open(member) as content:
        folder.take(name, content, member.file_size)


def _check_zip_end(archive: Path) -> None:
    """A zip's directory is read into memory whole: how large it is must be known before. The 64-bit form,
    which no adapter needs, and a comment, which could hide another end, are refused."""
    size = archive.stat().st_size
    with archive.open("rb") as file:
        file.seek(max(0, size - _ZIP_END - 20))
        tail = file.read()
    end = tail[-_ZIP_END:]
    if len(end) < _ZIP_END or end[:4] != b"PK\5\6" or end[-2:] != b"\0\0":
        raise InvalidAdapter("the zip is cut off, or it ends in a comment", "file")
    directory = int.from_bytes(end[12:16], "little")
    if tail[:4] == b"PK\6\7" or directory > min(size, _MAX_ZIP_DIRECTORY):
        raise InvalidAdapter("the zip's directory is too large", "file")
