"""Reading an adapter from a URI: only from places on the allow-list, only so many bytes, and over `https` only
from the address that was looked at."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urljoin

import fsspec
import httpx

from adapters.archives import KEPT
from adapters.errors import AdaptersError, AdapterTooLarge, InvalidAdapter, SourceRefused
from adapters.uris import allowed, parse_uri, public
from adapters.validation import refuse_code

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""From host and port to IP addresses."""

MAX_REDIRECTS = 3
SILENCE_S = 30.0
WHOLE_S = 1800.0
_CHUNK = 1024**2
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


async def resolve_host(host: str, port: int) -> Sequence[str]:
    """Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


async def write_bounded(chunks: AsyncIterable[bytes], target: Path, limit: int) -> None:
    """A new file of what comes, a piece at a time. Raises AdapterTooLarge."""
    size = 0
    with await asyncio.to_thread(target.open, "xb") as file:
        async for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise AdapterTooLarge(limit, "The file")
            await asyncio.to_thread(file.write, chunk)


class Sources:
    """places: URI prefixes that may be read. private: whether `https` may go to private addresses."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        places: Sequence[str],
        *,
        private: bool = False,
        resolve: Resolve = resolve_host,
    ) -> None:
        self._http = http
        self._places = places
        self._private = private
        self._resolve = resolve

    async def fetch(self, uri: str, scratch: Path, limit: int) -> Path:
        """An archive, or a folder of an adapter's files, below `scratch`.

        Raises SourceRefused for what may not or cannot be read, AdapterTooLarge, InvalidAdapter.
        """
        parts = self._require(uri)
        target = scratch / "source"
        with _translated():
            if parts.scheme == "https":
                async with asyncio.timeout(WHOLE_S):
                    await self._download(uri, target, limit)
            else:
                await asyncio.to_thread(self._copy, uri, parts, target, limit)
        return target

    def _require(self, uri: str) -> SplitResult:
        if not self._places:
            raise SourceRefused("Nothing may be imported from URIs: GRAFT_IMPORT_SOURCES names no place.")
        try:
            parts = parse_uri(uri)
        except ValueError as error:
            raise SourceRefused(f"The URI is refused: {error}.") from error
        if not allowed(parts, self._places):
            raise SourceRefused("The URI is not below a place that GRAFT_IMPORT_SOURCES names.")
        return parts

    async def _download(self, uri: str, target: Path, limit: int) -> None:
        for _ in range(MAX_REDIRECTS + 1):
            parts = self._require(uri)
            url = httpx.URL(uri).copy_with(host=await self._address(parts))
            async with self._http.stream(
                "GET",
                url,
                headers={"host": parts.netloc, "accept-encoding": "identity"},
                extensions={"sni_hostname": parts.hostname},
                follow_redirects=False,
                timeout=SILENCE_S,
            ) as response:
                if response.status_code in _REDIRECTS:
                    uri = urljoin(uri, response.headers.get("location", ""))
                    continue
                if response.status_code != 200:
                    raise SourceRefused(f"The source answers HTTP {response.status_code}.")
                return await write_bounded(response.aiter_raw(), target, limit)
        raise SourceRefused(f"The source redirects more than {MAX_REDIRECTS} times.")

    async def _address(self, parts: SplitResult) -> str:
        """The address to connect to: what was looked at is what is used, so that a second look-up by name
        cannot lead elsewhere."""
        addresses = await self._resolve(parts.hostname or "", parts.port or 443)
        if not addresses:
            raise SourceRefused("The source's name has no address.")
        if not self._private and not all(public(address) for address in addresses):
            raise SourceRefused("The source is at a private address (GRAFT_IMPORT_PRIVATE_HOSTS allows it).")
        return addresses[0]

    def _copy(self, uri: str, parts: SplitResult, target: Path, limit: int) -> None:
        if parts.scheme == "file" and not self._allows(Path(parts.path).resolve()):
            raise SourceRefused("The path leads over a link out of what GRAFT_IMPORT_SOURCES names.")
        fs, path = fsspec.core.url_to_fs(uri)
        if not fs.isdir(path):
            _copy_file(fs, path, target, limit)
            return
        target.mkdir()
        for entry in fs.ls(path, detail=True):
            limit -= _copy_entry(fs, entry, target, limit)

    def _allows(self, path: Path) -> bool:
        return any(path.is_relative_to(Path(place).resolve()) for place in self._folders())

    def _folders(self) -> list[str]:
        return [parse_uri(place).path for place in self._places if place.startswith("file:")]


def _copy_entry(fs: Any, entry: dict[str, Any], target: Path, limit: int) -> int:
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
def _translated() -> Iterator[None]:
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
        raise SourceRefused(f"The source cannot be read ({type(error).__name__}).") from error
