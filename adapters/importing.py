"""Importing: from somebody's file to a registered version, or to a reason and nothing left on disk."""

import asyncio
import contextlib
import hashlib
import hmac
import re
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from adapters.archives import LINEAGE, unpack
from adapters.artifacts import ArtifactStore, digest_of
from adapters.base import BaseModel
from adapters.errors import ImportTooSlow, InvalidAdapter, WrongBase
from adapters.peft_config import CONFIG, read_config
from adapters.registry import Registry
from adapters.rooms import room
from adapters.sources import Sources, write_bounded
from adapters.strict_json import read_json
from adapters.types import CLAIMED, Lineage, Version
from adapters.validation import AdapterShape, validate

AT_ONCE = 2
"""Imports that may fill the disk and a core at the same time, each of another tenant; others wait."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MAX_LINEAGE_BYTES = 1024**2
T = TypeVar("T")
_CLAIMS = ("version", "version_id", "artifact_digest", "parent_id", "run_id", "created_at", "gate")


@dataclass(frozen=True)
class Order:
    """Who wants what imported into which adapter."""

    tenant_id: str
    adapter: str
    base: BaseModel
    """The one that the adapter belongs to."""
    actor: str
    digest: str | None = None
    """`sha256:…` of the archive, or of the artifact as an export names it."""
    accept_base: bool = False
    """The base model that the adapter's configuration names is ours under another name."""


@dataclass(frozen=True)
class _Claims:
    """What an export of ours says of itself; `base_digest` is checked, the rest is kept as it was said.

    told: where it says that it came from, and what a gate elsewhere is said to have decided.
    """

    base_digest: str | None = None
    dataset_digest: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)


class Importer:
    """Takes adapters in, below `scratch` while they are looked at."""

    def __init__(
        self,
        registry: Registry,
        store: ArtifactStore,
        sources: Sources,
        scratch: Path,
        *,
        max_rank: int,
        max_bytes: int,
        max_seconds: float,
    ) -> None:
        self._registry = registry
        self._store = store
        self._sources = sources
        self._scratch = scratch
        self._max_rank = max_rank
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._turns_of: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def upload(self, order: Order, chunks: AsyncIterable[bytes]) -> tuple[Version, bool]:
        """A `.tar`, `.tar.gz` or `.zip` as it arrives. Returns the version, and whether it is new: the same
        artifact is the same version of an adapter, so that repeating an import changes nothing.

        Raises InvalidAdapter, WrongBase, UnknownAdapter, ImportTooSlow.
        """
        async with self._turn(order.tenant_id) as (here, bound):
            archive = here / "source"
            await write_bounded(chunks, archive, self._max_bytes)
            return await self._take(order, archive, "upload", bound)

    async def fetch(self, order: Order, uri: str) -> tuple[Version, bool]:
        """An archive or a folder at a URI. Returns and raises as `upload`, and SourceRefused."""
        async with self._turn(order.tenant_id) as (here, bound):
            found = await self._sources.fetch(uri, here, self._max_bytes)
            return await self._take(order, found, uri.partition("?")[0], bound)

    @contextlib.asynccontextmanager
    async def _turn(self, tenant_id: str) -> AsyncIterator[tuple[Path, asyncio.Timeout]]:
        """A directory to work in, once it is the tenant's turn, and the bound on how long an import may take. A tenant
        has one turn at a time, so that its slow imports keep none of the others' waiting."""
        own = self._turns_of.setdefault(tenant_id, asyncio.Lock())
        bound = asyncio.timeout(self._max_seconds)
        try:
            async with bound, own, self._turns:
                with room(self._scratch) as here:
                    yield here, bound
        except TimeoutError as error:
            if bound.expired():
                raise ImportTooSlow(self._max_seconds) from error
            raise

    async def _take(
        self, order: Order, found: Path, source: str, bound: asyncio.Timeout
    ) -> tuple[Version, bool]:
        """What is right is kept, however long the store takes and whoever has left: half of it would stay for ever."""
        folder, claims, shape = await _to_its_end(asyncio.to_thread(self._examine, order, found))
        bound.reschedule(None)
        return await _to_its_end(self._keep(order, folder, claims, shape, source))

    async def _keep(
        self, order: Order, folder: Path, claims: _Claims, shape: AdapterShape, source: str
    ) -> tuple[Version, bool]:
        artifact = await self._store.put(folder)
        lineage = Lineage(
            base_digest=order.base.digest,
            recipe=claims.recipe,
            dataset_digest=claims.dataset_digest,
            source=source[:1024],
            actor=order.actor,
        )
        metrics: dict[str, Any] = {"rank": shape.rank, "alpha": shape.alpha, "parameters": shape.parameters}
        if claims.told:
            metrics[CLAIMED] = claims.told
        version, new = await self._registry.register_once(
            order.tenant_id, order.adapter, artifact.digest, lineage, metrics
        )
        await self._store.put(folder)  # again: until it was registered, retention may have deleted it
        return version, new

    def _examine(self, order: Order, found: Path) -> tuple[Path, _Claims, AdapterShape]:
        """The folder to store, once everything about it is right."""
        folder = found
        if found.is_file():
            folder = found.with_name("folder")
            folder.mkdir()
            unpack(found, folder, self._max_bytes)
        claims = _claims(folder / LINEAGE)
        _check_base(claims, read_config(folder / CONFIG).declared_base, order.base, order.accept_base)
        shape = validate(folder, order.base, self._max_rank)
        if order.digest is not None:
            _check_digest(order.digest, found, folder)
        return folder, claims, shape


async def _to_its_end(work: Awaitable[T]) -> T:
    """A thread cannot be broken off: who is, waits for the work, so that it finds its files and its turn is no
    other's."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


def _claims(path: Path) -> _Claims:
    """Read and removed: it tells of the artifact and is no part of it."""
    if not path.exists():
        return _Claims()
    if path.stat().st_size > _MAX_LINEAGE_BYTES:
        raise InvalidAdapter(f"is larger than {_MAX_LINEAGE_BYTES} bytes", LINEAGE)
    try:
        told = read_json(path.read_bytes())
    except ValueError as error:
        raise InvalidAdapter(str(error), LINEAGE) from error
    path.unlink()
    if not isinstance(told, dict) or not isinstance(told.get("recipe", {}), dict):
        raise InvalidAdapter("is not the lineage that an export writes", LINEAGE)
    return _Claims(
        _digest_in(told, "base_digest"),
        _digest_in(told, "dataset_digest"),
        told.get("recipe", {}),
        {name: told[name] for name in _CLAIMS if told.get(name) is not None},
    )


def _digest_in(told: Mapping[str, Any], name: str) -> str | None:
    value = told.get(name)
    if value is not None and not (isinstance(value, str) and _DIGEST.fullmatch(value)):
        raise InvalidAdapter(f"{name} is not a digest", LINEAGE)
    return value


def _check_base(claims: _Claims, declared: str, base: BaseModel, accept: bool) -> None:
    """A digest decides; without one the name that PEFT wrote must be our base model's, unless told otherwise."""
    if claims.base_digest is not None:
        if claims.base_digest != base.digest:
            raise WrongBase(base.digest, claims.base_digest)
        return
    name = PurePosixPath(declared.replace("\\", "/")).name
    if name and not accept and name.casefold() != base.id.casefold():
        raise InvalidAdapter(
            f"says {declared[:200]!r}, the adapter's base model is {base.id!r}; if they are the same weights, "
            "import it with accept_base",
            "base_model_name_or_path",
        )


def _check_digest(wanted: str, found: Path, folder: Path) -> None:
    if _DIGEST.fullmatch(wanted) is None:
        raise InvalidAdapter("must be `sha256:` and 64 hexadecimal digits", "digest")
    given = [digest_of(folder)]
    if found.is_file():
        with found.open("rb") as file:
            given.append(f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")
    if not any(hmac.compare_digest(wanted, each) for each in given):
        raise InvalidAdapter(f"is not that of what arrived ({', '.join(reversed(given))})", "digest")
