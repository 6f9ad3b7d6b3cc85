"""What an embedding costs its tenant. The encoder is a stand-in; `tests/integration` asks the real one."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from adapters.database import connect
from gateway.key_use import KeyUse
from gateway.policy import Policy
from gateway.routes.access import Access, answer_errors
from gateway.routes.embeddings import embeddings_router
from gateway.snapshot import CurrentSnapshot
from retrieval.errors import RetrievalUnavailable
from retrieval.types import Embedded
from tests.unit.gateway.accounting import admissions
from tests.unit.gateway.worlds import member, snapshot, tenant


@dataclass
class Encoder:
    away: bool = False

    async def embed(self, texts: Sequence[str]) -> Embedded:
        if self.away:
            raise RetrievalUnavailable("away")
        return Embedded([[1.0] for _ in texts], sum(map(len, texts)))


@pytest.fixture
def encoder() -> Encoder:
    return Encoder()


@pytest.fixture
async def client(tmp_path: Path, encoder: Encoder) -> AsyncIterator[httpx.AsyncClient]:
    limited = Policy.model_validate({"limits": {"requests_per_minute": 2, "tokens_per_day": 100}})
    acme = member(replace(tenant("acme"), policy=limited))
    record = connect(f"sqlite+aiosqlite:///{tmp_path}/graft.db")
    app = FastAPI()
    answer_errors(app)
    access = Access(CurrentSnapshot(snapshot(acme)), 100_000, KeyUse(record))
    app.include_router(embeddings_router(access, encoder, admissions()))
    headers = {"authorization": acme.bearer}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://graft", headers=headers) as made:
        yield made
    await record.dispose()


async def embed(client: httpx.AsyncClient, text: str = "one") -> httpx.Response:
    return await client.post("/v1/embeddings", json={"model": "minilm", "input": text})


async def test_embeddings_count_as_requests_and_tokens(client: httpx.AsyncClient) -> None:
    answers = [await embed(client) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    left = [answer.headers["x-ratelimit-remaining-requests"] for answer in answers]
    assert left == ["1", "0", "0"]
    assert answers[2].headers["retry-after"] == "30"


async def test_a_days_budget_is_spent_on_embeddings_too(client: httpx.AsyncClient) -> None:
    """By the tokens that the encoder read, which may be more than was reserved."""
    answers = [await embed(client, "x" * 99) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[0].json()["usage"] == {"prompt_tokens": 99, "total_tokens": 99}
    assert answers[1].json()["error"]["code"] == "insufficient_quota"


async def test_an_embedding_that_failed_costs_nothing(client: httpx.AsyncClient, encoder: Encoder) -> None:
    encoder.away = True
    assert [(await embed(client)).status_code for _ in range(3)] == [503] * 3
    encoder.away = False
    assert [(await embed(client)).status_code for _ in range(3)] == [200, 200, 429]
