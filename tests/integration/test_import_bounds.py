"""How long an import may take, whose turn it is, and what is left on the disk of those that measure and export."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import fsspec
import psutil
import pytest

from adapters.peft_config import CONFIG
from adapters.validation import WEIGHTS
from tests.integration.control_house import ADMIN_KEY
from tests.integration.gateway_house import listening
from tests.integration.random_adapters import write_adapter
from tests.integration.transfer_house import House, housed, tar
from tests.waiting import until


class Slow:
    """An upload that stops in the middle until it is told to go on."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content[:100]
        self.begun.set()
        await self.go_on.wait()
        yield self._content[100:]


async def sent(home: House, tenant: str, content: bytes) -> int:
    path = f"/admin/v1/tenants/{tenant}/adapters/default/versions"
    return (await home.admin.post(path, content=content)).status_code


async def test_an_upload_that_never_ends_is_cut_off_and_the_next_one_has_its_turn(
    tmp_path: Path, redis_url: str
) -> None:
    async with housed(tmp_path, redis_url, import_seconds=1.0) as home:
        slow = Slow(tar(home.files()))
        error = (await home.send(aiter(slow), 504))["error"]
        assert (error["code"], slow.begun.is_set()) == ("timeout", True)
        assert "GRAFT_IMPORT_SECONDS" in error["message"]
        assert home.left() == []
        await home.send(tar(home.files()))


async def test_a_client_that_leaves_in_the_middle_gives_its_turn_back(tmp_path: Path, redis_url: str) -> None:
    async with housed(tmp_path, redis_url) as home, listening(home.app) as url:
        imports = tmp_path / "data" / "cache" / "imports"

        async def begun() -> bool:
            return any(file.name == "source" for file in home.left())

        async def over() -> bool:
            return not [*imports.iterdir()]

        host = url.removeprefix("http://")
        head = [
            "POST /admin/v1/tenants/acme/adapters/default/versions HTTP/1.1",
            f"host: {host}",
            f"authorization: Bearer {ADMIN_KEY}",
            "content-length: 1000000",
        ]
        _, writer = await asyncio.open_connection(*host.split(":"))
        writer.write("\r\n".join([*head, "", "half"]).encode())
        await until(begun)
        writer.close()
        await until(over)
        await home.send(tar(home.files()))


async def test_one_tenants_slow_uploads_leave_the_others_their_turns(tmp_path: Path, redis_url: str) -> None:
    async with housed(tmp_path, redis_url) as home:
        await home.admin.post("/admin/v1/tenants", json={"external_id": "globex"})
        slow = [Slow(tar(home.files(seed))) for seed in range(4)]
        waiting = [asyncio.create_task(home.send(aiter(each))) for each in slow]

        async def begun() -> bool:
            return any(each.begun.is_set() for each in slow)

        await until(begun)
        assert await asyncio.wait_for(sent(home, "globex", tar(home.files(9))), 30) == 201
        assert sum(each.begun.is_set() for each in slow) == 1
        for each in slow:
            each.go_on.set()
        labels = [version["label"] for version in await asyncio.gather(*waiting)]
        assert sorted(labels) == [f"default@v{number}" for number in range(1, 5)]


async def test_a_store_that_never_answers_is_cut_off_and_nobody_asks_it_any_more(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        async with housed(tmp_path, redis_url, import_sources="s3://bucket/", import_seconds=10.0) as home:
            before = set(psutil.Process().children(recursive=True))
            body = {"uri": "s3://bucket/adapter"}
            asked = asyncio.create_task(home.call("POST", "/versions", 504, json=body))
            connection, _ = await asyncio.to_thread(silent.accept)
            with connection:
                assert "GRAFT_IMPORT_SECONDS" in (await asked)["error"]["message"]
            assert set(psutil.Process().children(recursive=True)) <= before
            assert home.left() == []


async def test_a_pipe_is_no_source(tmp_path: Path, redis_url: str) -> None:
    async with housed(tmp_path, redis_url) as home:
        shared = tmp_path / "shared"
        shared.mkdir()
        os.mkfifo(shared / "pipe")
        (shared / "folder").mkdir()
        os.mkfifo(shared / "folder" / CONFIG)
        for name in ("pipe", "folder"):
            await home.call("POST", "/versions", 400, json={"uri": (shared / name).as_uri()})
        assert home.left() == []


async def test_measuring_and_exporting_leave_no_copy_of_what_a_remote_store_holds(
    tmp_path: Path, redis_url: str
) -> None:
    remote = fsspec.filesystem("memory")
    async with housed(tmp_path, redis_url, artifacts_url="memory://artifacts") as home:
        version = await home.send(tar(home.files(1)))
        await home.send(tar(home.files(2)))
        assert remote.find("/artifacts")
        cache = home.directory / "data" / "cache"
        before = {path for path in cache.rglob("*") if path.is_file()}
        await home.call("GET", "/versions/v1/drift")
        await home.call("GET", "/versions/v1/similarity", params={"to": "v2"})
        exported = await home.admin.get("/admin/v1/tenants/acme/adapters/default/versions/v1/artifact")
        assert exported.headers["x-graft-digest"] == version["artifact_digest"]
        left = {path for path in cache.rglob("*") if path.is_file()} - before
        assert {path.parent.name for path in left} == {"norms"}
        remote.rm("/artifacts", recursive=True)


async def test_an_artifact_that_was_damaged_in_the_store_is_not_exported(
    tmp_path: Path, redis_url: str
) -> None:
    async with housed(tmp_path, redis_url) as home:
        version = await home.send(tar(home.files()))
        place = home.directory / "data" / "artifacts" / version["artifact_digest"].removeprefix("sha256:")
        held = (place / WEIGHTS).read_bytes()
        (place / WEIGHTS).write_bytes(held[:-1] + bytes([held[-1] ^ 1]))
        error = (await home.call("GET", "/versions/v1/artifact", 409))["error"]
        assert WEIGHTS in error["message"]


async def test_a_folder_that_grows_beyond_the_bound_is_too_large(tmp_path: Path, redis_url: str) -> None:
    async with housed(tmp_path, redis_url, import_max_bytes=2048) as home:
        folder = write_adapter(tmp_path / "shared" / "one", home.base, 1, rank=8)
        error = (await home.call("POST", "/versions", 413, json={"uri": folder.as_uri()}))["error"]
        assert "2048 bytes" in error["message"]
        assert home.left() == []
