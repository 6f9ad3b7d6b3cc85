"""Adapters from the Hugging Face hub, by the real client, from a server that speaks its protocol."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from adapters.errors import AdapterTooLarge, InvalidAdapter, SourceRefused
from adapters.peft_config import CONFIG
from adapters.sources import Sources
from adapters.validation import WEIGHTS
from deploy.demo.serving import free_port
from tests.integration.hub import hub

LIMIT = 1_000_000


def pointed(environment: pytest.MonkeyPatch, url: str) -> None:
    """Where the client looks."""
    environment.setenv("HF_HUB_OFFLINE", "0")
    environment.setenv("HF_ENDPOINT", url)


@pytest.fixture
def owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = tmp_path / "root" / "team" / "adapter"
    place.mkdir(parents=True)
    (place / CONFIG).write_text("{}")
    (place / WEIGHTS).write_bytes(b"w" * 70_000)
    (place / "README.md").write_text("left out")
    with hub(tmp_path / "root") as url:
        pointed(monkeypatch, url)
        yield place.parent


async def fetched(uri: str, to: Path, limit: int = LIMIT) -> Path:
    async with httpx.AsyncClient() as http:
        return await asyncio.wait_for(Sources(http, ["hf://team/"]).fetch(uri, to, limit), 60)


async def test_a_repository_comes_with_the_files_that_an_adapter_has(owner: Path, tmp_path: Path) -> None:
    found = await fetched("hf://team/adapter", tmp_path)
    assert {file.name: file.read_bytes() for file in found.iterdir()} == {
        CONFIG: b"{}",
        WEIGHTS: b"w" * 70_000,
    }


async def test_what_is_too_large_is_not_taken(owner: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterTooLarge):
        await fetched("hf://team/adapter", tmp_path, limit=1000)


async def test_a_pickle_beside_the_weights_is_refused(owner: Path, tmp_path: Path) -> None:
    (owner / "adapter" / "adapter_model.bin").write_bytes(b"code")
    with pytest.raises(InvalidAdapter, match=r"adapter_model\.bin"):
        await fetched("hf://team/adapter", tmp_path)


async def test_what_is_not_there_is_refused(owner: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceRefused, match="cannot be read"):
        await fetched("hf://team/nothing", tmp_path)


@pytest.mark.parametrize("uri", ["hf://other/adapter", "hf://datasets/team/adapter", "hf://teams/adapter"])
async def test_another_owner_is_refused(owner: Path, tmp_path: Path, uri: str) -> None:
    with pytest.raises(SourceRefused, match="GRAFT_IMPORT_SOURCES"):
        await fetched(uri, tmp_path)


async def test_a_hub_that_cannot_be_reached_is_a_refusal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pointed(monkeypatch, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(SourceRefused, match="cannot be read"):
        await fetched("hf://team/adapter", tmp_path)
