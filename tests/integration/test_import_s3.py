"""Adapters from S3, by the real client, from a server that speaks its protocol."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from adapters.errors import AdapterTooLarge, SourceRefused
from adapters.peft_config import CONFIG
from adapters.sources import Sources
from adapters.validation import WEIGHTS
from tests.integration.random_adapters import packed
from tests.integration.s3_store import s3_store

LIMIT = 1_000_000


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = tmp_path / "root" / "bucket"
    (place / "team" / "adapter").mkdir(parents=True)
    (place / "team" / "adapter" / CONFIG).write_text("{}")
    (place / "team" / "adapter" / WEIGHTS).write_bytes(b"w" * 70_000)
    (place / "team" / "adapter" / "README.md").write_text("left out")
    with s3_store(tmp_path / "root") as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield place


async def fetched(uri: str, to: Path, limit: int = LIMIT) -> Path:
    async with httpx.AsyncClient() as http:
        sources = Sources(http, ["s3://bucket/team/"])
        return await asyncio.wait_for(sources.fetch(uri, to, limit), 30)


async def test_a_folder_comes_with_the_files_that_an_adapter_has(bucket: Path, tmp_path: Path) -> None:
    found = await fetched("s3://bucket/team/adapter", tmp_path)
    assert {file.name: file.read_bytes() for file in found.iterdir()} == {
        CONFIG: b"{}",
        WEIGHTS: b"w" * 70_000,
    }


async def test_an_archive_comes_whole(bucket: Path, tmp_path: Path) -> None:
    archive = bucket / "team" / "adapter.tar.gz"
    archive.write_bytes(packed(bucket / "team" / "adapter"))
    found = await fetched("s3://bucket/team/adapter.tar.gz", tmp_path)
    assert found.read_bytes() == archive.read_bytes()


async def test_what_is_too_large_is_not_taken(bucket: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterTooLarge):
        await fetched("s3://bucket/team/adapter", tmp_path, limit=1000)


async def test_what_is_not_there_is_refused(bucket: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceRefused, match="FileNotFoundError"):
        await fetched("s3://bucket/team/nothing", tmp_path)


async def test_another_bucket_is_refused(bucket: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceRefused, match="GRAFT_IMPORT_SOURCES"):
        await fetched("s3://other/team/adapter", tmp_path)
