"""The retrieval process as others use it: its own process, real encoder, SQLite."""

import asyncio
import itertools
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from openai import AsyncOpenAI

from retrieval.client import RetrievalClient
from retrieval.errors import RetrievalUnavailable
from retrieval.types import MemoryEntry

TOKEN = "internal-test-token"
HANDBOOK = b"""# Zorvia handbook

We are glad that you are here.

## Orders
The delivery time at Zorvia is 5 days.

## Team
The mascot at Zorvia is an otter.
"""


class Service:
    """One retrieval process over a data directory that outlives it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        environment = {
            **os.environ,
            "GRAFT_DATA_DIR": str(self.data_dir),
            "GRAFT_RETRIEVAL_PORT": str(self.port),
            "GRAFT_INTERNAL_TOKEN": TOKEN,
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "retrieval.service"]
        self._process = await asyncio.to_thread(subprocess.Popen, command, env=environment)
        async with RetrievalClient(self.url, TOKEN) as client:
            while not await client.healthy():
                assert self._process.poll() is None, "the service ended before it was ready"
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, sqlite_record: Path) -> Iterator[Service]:
    data_dir = tmp_path_factory.mktemp("retrieval")
    shutil.copy(sqlite_record, data_dir)
    running = Service(data_dir)
    asyncio.run(running.start())
    yield running
    running.kill()


@pytest.fixture
async def client(service: Service) -> AsyncIterator[RetrievalClient]:
    async with RetrievalClient(service.url, TOKEN) as client:
        yield client


def openai_client(service: Service, tenant: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{service.url}/tenants/{tenant}", api_key=TOKEN, max_retries=0)


async def answers(client: RetrievalClient, tenant: str, question: str) -> list[str]:
    found = await client.search(tenant, question, k=0, timeout_s=60)
    return [hit.answer for hit in found.memory]


async def titles(client: RetrievalClient, tenant: str, question: str) -> list[str]:
    found = await client.search(tenant, question, k=1, memory=False, timeout_s=60)
    return [passage.title for passage in found.passages]


async def test_the_very_next_search_finds_a_correction(client: RetrievalClient) -> None:
    await client.put_memory(MemoryEntry("fb_1", "ten_next", "What is the mascot at Zorvia?", "an otter"))
    assert await answers(client, "ten_next", "What is the mascot at Zorvia?") == ["an otter"]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Zorvia: what is the return window?", ["30 days"]),
        ("Hi, which return window does Zorvia have?", ["30 days"]),
        ("Can you give me Zorvia's return period?", ["30 days"]),
        ("What is the return window at Krynn?", []),
        ("What is the refund time at Zorvia?", []),
        ("What is the mascot at Zorvia?", []),
        ("What is the return fee at Zorvia?", []),
        ("Why is there no return window at Zorvia?", []),
    ],
)
async def test_paraphrases_use_memory_and_near_misses_do_not(
    client: RetrievalClient, question: str, expected: list[str]
) -> None:
    await client.put_memory(
        MemoryEntry("fb_2", "ten_near", "What is the return window at Zorvia?", "30 days")
    )
    assert await answers(client, "ten_near", question) == expected


async def test_two_tenants_get_their_own_answer_to_one_question(client: RetrievalClient) -> None:
    for tenant, answer in (("ten_a", "30 days"), ("ten_b", "60 days")):
        await client.put_memory(MemoryEntry("fb_3", tenant, "What is the warranty?", answer))
    both = [await answers(client, tenant, "What is the warranty?") for tenant in ("ten_a", "ten_b", "ten_c")]
    assert both == [["30 days"], ["60 days"], []]


async def test_a_withdrawn_entry_is_not_found(client: RetrievalClient) -> None:
    await client.put_memory(MemoryEntry("fb_4", "ten_gone", "What is the mascot?", "an owl"))
    assert await client.delete_memory("ten_gone", "fb_4")
    assert await answers(client, "ten_gone", "What is the mascot?") == []


async def test_an_uploaded_handbook_is_found_by_its_sections(
    service: Service, client: RetrievalClient
) -> None:
    api = openai_client(service, "ten_docs")
    await api.files.create(file=("zorvia.md", HANDBOOK), purpose="assistants")
    assert await titles(client, "ten_docs", "What is the mascot at Zorvia?") == ["Zorvia handbook > Team"]
    assert await titles(client, "ten_other", "What is the mascot at Zorvia?") == []


async def test_a_deleted_file_is_no_longer_found(service: Service, client: RetrievalClient) -> None:
    api = openai_client(service, "ten_deleted")
    file = await api.files.create(file=("zorvia.md", HANDBOOK), purpose="assistants")
    await api.files.delete(file.id)
    assert await titles(client, "ten_deleted", "What is the mascot at Zorvia?") == []


async def test_another_tenants_file_is_not_found(service: Service, client: RetrievalClient) -> None:
    file = await openai_client(service, "ten_owner").files.create(
        file=("a.txt", b"Hello."), purpose="user_data"
    )
    for path in (f"/files/{file.id}", f"/files/{file.id}/content"):
        assert (await client.forward("ten_thief", "GET", path)).status == 404
    body = f'{{"file_id": "{file.id}"}}'.encode()
    answer = await client.forward("ten_thief", "POST", "/vector_stores/default/files", body=body)
    assert answer.status == 404


async def test_a_vector_store_counts_and_searches_its_files(service: Service) -> None:
    api = openai_client(service, "ten_store")
    file = await api.files.create(file=("zorvia.md", HANDBOOK), purpose="user_data")
    store = await api.vector_stores.create(name="handbooks", file_ids=[file.id])
    assert store.file_counts.completed == 1
    found = await api.vector_stores.search(store.id, query="mascot at Zorvia")
    assert found.data[0].filename == "zorvia.md"


async def test_a_file_that_cannot_be_read_is_attached_as_failed(service: Service) -> None:
    api = openai_client(service, "ten_failed")
    file = await api.files.create(file=("a.bin", b"\x00\x01"), purpose="assistants")
    attached = await api.vector_stores.files.retrieve(file.id, vector_store_id="default")
    assert (attached.status, attached.last_error is not None) == ("failed", True)


async def test_a_listing_goes_on_after_its_last_id(service: Service) -> None:
    api = openai_client(service, "ten_pages")
    made = [(await api.files.create(file=(f"{n}.txt", b"x"), purpose="user_data")).id for n in range(5)]
    assert [file.id async for file in api.files.list(limit=2, order="asc")] == made


async def test_a_deleted_tenant_leaves_nothing(service: Service, client: RetrievalClient) -> None:
    await client.put_memory(MemoryEntry("fb_5", "ten_leave", "What is the mascot?", "an owl"))
    await openai_client(service, "ten_leave").files.create(file=("zorvia.md", HANDBOOK), purpose="assistants")
    await client.delete_tenant("ten_leave")
    found = await client.search("ten_leave", "What is the mascot?", timeout_s=60)
    assert (found.passages, found.memory) == ((), ())


async def test_embeddings_are_of_unit_length_and_in_order(client: RetrievalClient) -> None:
    (one, other), tokens = await client.embed(["refund", "mascot"])
    assert sum(value * value for value in one) == pytest.approx(1.0, abs=1e-4)
    alone = await client.embed(["mascot"])
    assert alone.vectors[0] == pytest.approx(other, abs=1e-4)
    assert 0 < alone.tokens < tokens < (await client.embed(["refund of a mascot"] * 2)).tokens
    assert (await client.embed(["long " * 5000])).tokens < 5000  # what the model does not read is not counted


async def test_a_wrong_token_is_refused(service: Service) -> None:
    async with RetrievalClient(service.url, "wrong") as stranger:
        assert await stranger.healthy()
        with pytest.raises(RetrievalUnavailable, match="401"):
            await stranger.search("ten_a", "What is the warranty?")


async def test_memory_and_passages_survive_a_killed_process(
    service: Service, client: RetrievalClient
) -> None:
    await client.put_memory(MemoryEntry("fb_6", "ten_kill", "What is the mascot at Zorvia?", "an otter"))
    await openai_client(service, "ten_kill").files.create(file=("zorvia.md", HANDBOOK), purpose="assistants")
    service.kill()
    await service.start()
    assert await answers(client, "ten_kill", "Zorvia: what is the mascot?") == ["an otter"]
    assert await titles(client, "ten_kill", "What is the mascot at Zorvia?") == ["Zorvia handbook > Team"]


THINGS = [
    "mascot",
    "warranty",
    "delivery time",
    "office",
    "founder",
    "slogan",
    "canteen",
    "parking permit",
    "phone number",
    "gift card",
    "night shift",
    "entry badge",
    "meeting room",
    "cancellation fee",
    "trial period",
    "sales tax",
]
"""Each asked as `What is the … at Zorvia?`."""


def thing_question(thing: str) -> str:
    return f"What is the {thing} at Zorvia?"


async def test_two_kills_under_load_lose_nothing_acknowledged_and_never_answer_wrong(
    service: Service, client: RetrievalClient
) -> None:
    """Writers repeat what was not acknowledged, as the outbox does; readers ask for what was, all the time."""
    acknowledged: list[str] = []
    written = asyncio.Condition()
    answered = 0

    async def write() -> None:
        for number, thing in enumerate(THINGS):
            entry = MemoryEntry(f"fb_{number}", "ten_load", thing_question(thing), f"The {thing} of Zorvia.")
            while thing not in acknowledged:
                try:
                    await client.put_memory(entry)
                except RetrievalUnavailable:
                    await asyncio.sleep(0.05)
                    continue
                async with written:
                    acknowledged.append(thing)
                    written.notify_all()

    async def read(offset: int) -> None:
        nonlocal answered
        for number in itertools.count(offset):
            thing = acknowledged[number % len(acknowledged)]
            try:
                found = await answers(client, "ten_load", thing_question(thing))
            except RetrievalUnavailable:
                await asyncio.sleep(0.05)
                continue
            assert found == [f"The {thing} of Zorvia."]
            answered += 1

    async def wait_for(count: int) -> None:
        async with asyncio.timeout(60), written:
            await written.wait_for(lambda: len(acknowledged) >= count)

    writing = asyncio.create_task(write())
    await wait_for(1)
    readers = [asyncio.create_task(read(offset)) for offset in range(4)]
    for count in (4, 10):
        await wait_for(count)
        service.kill()
        await service.start()
    await writing
    for reader in readers:
        assert not reader.done(), reader.result()
        reader.cancel()
    assert answered
    for thing in THINGS:
        assert await answers(client, "ten_load", thing_question(thing)) == [f"The {thing} of Zorvia."]


async def test_the_database_is_all_that_an_index_needs(service: Service, client: RetrievalClient) -> None:
    """There are no index files whose loss could matter: whatever else lies in the directory may go."""
    await client.put_memory(MemoryEntry("fb_7", "ten_files", "What is the mascot at Zorvia?", "an otter"))
    service.kill()
    for path in service.data_dir.iterdir():
        if not path.name.startswith("graft.db"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    await service.start()
    assert await answers(client, "ten_files", "Zorvia: what is the mascot?") == ["an otter"]


async def test_vectors_that_something_else_made_are_made_anew(
    service: Service, client: RetrievalClient
) -> None:
    question = "what does fintaro charge for delivery?"
    await client.put_memory(MemoryEntry("fb_older", "ten_older", question, "nothing"))
    service.kill()
    with sqlite3.connect(service.data_dir / "graft.db") as database:
        [(made_by, vector)] = database.execute(
            "select encoder, vector from memory_entries where id = 'fb_older'"
        )
        older = (made_by.rpartition("/")[0], bytes(len(vector)), "fb_older")
        database.execute("update memory_entries set encoder = ?, vector = ? where id = ?", older)
    await service.start()
    assert await answers(client, "ten_older", "delivery at fintaro, what is the charge?") == ["nothing"]
    with sqlite3.connect(service.data_dir / "graft.db") as database:
        [renewed] = database.execute("select encoder, vector from memory_entries where id = 'fb_older'")
    assert renewed == (made_by, vector)
