"""Reading an adapter from a URI: only from places on the allow-list, only so many bytes, and over `https` only
from the address that was looked at."""

import asyncio
import contextlib
import json
import logging
import re
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from pathlib import Path
from urllib.parse import SplitResult, urljoin

import httpx

from adapters.copying import translated
from adapters.errors import AdapterTooLarge, InvalidAdapter, SourceRefused
from adapters.settings import environment_of_others
from adapters.uris import allowed, parse_uri, public

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""From host and port to IP addresses."""

MAX_REDIRECTS = 3
SILENCE_S = 30.0
KILLED_S = 5.0
"""How long a killed process may take to end."""
_EXCEPTION = re.compile(rb"([A-Za-z_][\w.]{0,99})(?::|$)")
"""How the last line of a traceback begins; what follows may hold a secret."""
_COPYING = (sys.executable, "-m", "adapters.copying")
_ROOT = Path(__file__).resolve().parents[1]
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

log = logging.getLogger(__name__)


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
    """places: URI prefixes that may be read. private: whether `https` may go to private addresses. seconds: after which
    a copy ends that nobody waits for any more."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        places: Sequence[str],
        *,
        private: bool = False,
        resolve: Resolve = resolve_host,
        seconds: float = 1800.0,
    ) -> None:
        self._http = http
        self._places = places
        self._private = private
        self._resolve = resolve
        self._seconds = seconds

    async def fetch(self, uri: str, scratch: Path, limit: int) -> Path:
        """An archive, or a folder of an adapter's files, below `scratch`.

        Raises SourceRefused for what may not or cannot be read, AdapterTooLarge, InvalidAdapter.
        """
        parts = self._require(uri)
        target = scratch / "source"
        with translated(parts.scheme):
            if parts.scheme == "https":
                await self._download(uri, target, limit)
            else:
                await self._copy(uri, target, limit)
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

    async def _copy(self, uri: str, target: Path, limit: int) -> None:
        """In a process that ends with this call, however that ends. target: an absolute path."""
        folders = [parse_uri(place).path for place in self._places if place.startswith("file:")]
        order = {
            "uri": uri,
            "target": str(target),
            "limit": limit,
            "folders": folders,
            "seconds": self._seconds,
        }
        process = await asyncio.create_subprocess_exec(
            *_COPYING, stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd=_ROOT, env=environment_of_others()
        )
        try:
            said, complained = await process.communicate(json.dumps(order).encode())
        finally:
            await _ended(process)
        if said:
            kind, reason, param = json.loads(said)
            if kind == AdapterTooLarge.__name__:
                raise AdapterTooLarge(limit, "The files")
            raise InvalidAdapter(reason, param) if kind == InvalidAdapter.__name__ else SourceRefused(reason)
        if process.returncode != 0:
            log.warning("a source's reader ended with %s (%s)", process.returncode, _exception(complained))
            raise SourceRefused(f"The source cannot be read (its reader ended with {process.returncode}).")


def _exception(complained: bytes) -> str:
    """The kind of exception that a process ended by, or nothing."""
    found = _EXCEPTION.match(complained.rstrip().rpartition(b"\n")[2])
    return found[1].decode() if found else "no exception"


async def _ended(process: Process) -> None:
    """One that a dead disk holds cannot be waited for."""
    if process.returncode is None:
        process.kill()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), KILLED_S)
