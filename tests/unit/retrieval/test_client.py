import asyncio

import pytest

from retrieval.client import RetrievalClient
from retrieval.errors import RetrievalError, RetrievalTimeout, RetrievalUnavailable


async def test_a_path_that_climbs_out_of_the_tenant_is_not_found_without_being_sent() -> None:
    async with RetrievalClient("http://127.0.0.1:9", "t") as client:
        for path in ("/files/../../ten_b/files", "/files/%2e%2e", "/files//x", "/files/a?b", "/files/.."):
            assert (await client.forward("ten_a", "GET", path)).status == 404


async def test_a_tenant_that_is_no_identifier_is_refused() -> None:
    async with RetrievalClient("http://127.0.0.1:9", "t") as client:
        with pytest.raises(RetrievalError):
            await client.search("ten_a/../ten_b", "?")


async def test_an_unreachable_service_is_unavailable() -> None:
    async with RetrievalClient("http://127.0.0.1:9", "t") as client:
        with pytest.raises(RetrievalUnavailable):
            await client.search("ten_a", "?")


async def test_an_unreachable_service_is_not_healthy() -> None:
    async with RetrievalClient("http://127.0.0.1:9", "t") as client:
        assert not await client.healthy()


async def test_a_silent_service_is_late() -> None:
    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, RetrievalClient(f"http://127.0.0.1:{port}", "t") as client:
        with pytest.raises(RetrievalTimeout):
            await client.search("ten_a", "?", timeout_s=0.05)
