"""An adapter that was found right is kept whole: neither the bound on an import nor a client that leaves stops the
store in the middle."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from adapters.archives import packed
from adapters.artifacts import ArtifactStore
from adapters.base import BaseModel
from adapters.importing import Importer, Order
from adapters.registry import Registry
from adapters.sources import Sources
from adapters.types import Artifact
from tests.unit.adapters.conftest import WriteAdapter

BOUND_S = 2.0


class Stalling(ArtifactStore):
    """Stops in one of its puts until it is told to go on."""

    def __init__(self, url: str, at: int) -> None:
        super().__init__(url)
        self._left = at
        self.begun, self.go_on = threading.Event(), threading.Event()

    def _put(self, directory: Path) -> Artifact:
        self._left -= 1
        if not self._left:
            self.begun.set()
            assert self.go_on.wait(30)
        return super()._put(directory)


async def sent(folder: Path) -> AsyncIterator[bytes]:
    yield archive(folder)


def archive(folder: Path) -> bytes:
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    contents = {name: iter([(folder / name).read_bytes()]) for name in sizes}
    return b"".join(packed(sizes, contents, b"{}"))


@pytest.mark.parametrize("leaves", [False, True])
@pytest.mark.parametrize("at", [1, 2])
async def test_what_was_found_right_is_stored_and_registered_to_the_end(
    tmp_path: Path, registry: Registry, base: BaseModel, write_adapter: WriteAdapter, at: int, leaves: bool
) -> None:
    await registry.ensure_adapter("ten_acme", "other", base.digest)
    store = Stalling((tmp_path / "slow").as_uri(), at)
    async with httpx.AsyncClient() as http:
        importer = Importer(
            registry,
            store,
            Sources(http, ()),
            tmp_path / "imports",
            max_rank=8,
            max_bytes=1024**2,
            max_seconds=BOUND_S,
        )
        order = Order("ten_acme", "other", base, "somebody", accept_base=True)
        task = asyncio.create_task(importer.upload(order, sent(write_adapter())))
        assert await asyncio.to_thread(store.begun.wait, 30)
        if leaves:
            task.cancel()
        await asyncio.wait([task], timeout=0.1 if leaves else BOUND_S)
        in_the_middle = not task.done() and [*(tmp_path / "imports").iterdir()]
        store.go_on.set()
        await asyncio.wait([task])
    assert in_the_middle
    assert task.cancelled() is leaves
    (version,) = await registry.versions("ten_acme", "other")
    assert await store.exists(version.artifact_digest)
    assert not [*(tmp_path / "imports").iterdir()]
