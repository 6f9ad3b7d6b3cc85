"""`/v1/embeddings` as OpenAI's own client sees it; the encoder is the fake one, of 32 dimensions."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.key_use import KeyUse
from gateway.keys import Scope
from gateway.routes.access import Access, answer_errors
from gateway.routes.embeddings import MAX_INPUTS, embeddings_router
from gateway.snapshot import CurrentSnapshot
from retrieval.testing import FakeRetrieval
from tests.unit.gateway.accounting import admissions
from tests.unit.gateway.worlds import Member, member, snapshot, tenant

ACME = member(tenant("acme"))
KNOWING = member(tenant("knowing"), frozenset({Scope.KNOWLEDGE}))


@dataclass
class Desk:
    transport: httpx.ASGITransport
    retrieval: FakeRetrieval
    client: openai.AsyncOpenAI

    def of(self, who: Member) -> openai.AsyncOpenAI:
        return self.client.with_options(api_key=who.minted.secret)


@pytest.fixture
async def desk(database: AsyncEngine) -> AsyncIterator[Desk]:
    app, retrieval = FastAPI(), FakeRetrieval()
    answer_errors(app)
    access = Access(CurrentSnapshot(snapshot(ACME, KNOWING)), 100_000, KeyUse(database))
    app.include_router(embeddings_router(access, retrieval, admissions()))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport) as http:
        told = {"api_key": ACME.minted.secret, "base_url": "http://graft/v1", "max_retries": 0}
        yield Desk(transport, retrieval, openai.AsyncOpenAI(http_client=http, **told))


async def test_both_encodings_are_the_same_vectors_in_the_order_of_the_texts(desk: Desk) -> None:
    asked: dict[str, Any] = {"model": "any", "input": ["one", "two"]}
    packed = await desk.client.embeddings.create(**asked)
    plain = await desk.client.embeddings.create(**asked, encoding_format="float", dimensions=32)
    assert [each.index for each in packed.data] == [0, 1] and packed.model == "any"
    for ours, theirs in zip(packed.data, plain.data, strict=True):
        assert ours.embedding == pytest.approx(theirs.embedding, abs=1e-6)
    assert plain.data[0].embedding != plain.data[1].embedding
    alone = await desk.client.embeddings.create(model="any", input="two", encoding_format="float")
    assert alone.data[0].embedding == plain.data[1].embedding


async def test_other_dimensions_than_the_encoders_are_refused(desk: Desk) -> None:
    with pytest.raises(openai.BadRequestError) as wrong:
        await desk.client.embeddings.create(model="any", input="one", dimensions=16)
    assert wrong.value.param == "dimensions" and "32" in wrong.value.message


@pytest.mark.parametrize("texts", [[], "", ["one", ""], [1, 2], [[1, 2]], [None], ["x"] * (MAX_INPUTS + 1)])
async def test_what_is_no_text_is_refused(desk: Desk, texts: Any) -> None:
    with pytest.raises(openai.BadRequestError) as wrong:
        await desk.client.embeddings.create(model="any", input=texts)
    assert wrong.value.param == "input"


async def test_without_an_encoder_there_is_a_time_to_come_back(desk: Desk) -> None:
    desk.retrieval.available = False
    with pytest.raises(openai.InternalServerError) as away:
        await desk.client.embeddings.create(model="any", input="one")
    assert (away.value.status_code, away.value.code) == (503, "retrieval_unavailable")
    assert away.value.response.headers["retry-after-ms"] == "1000"


async def test_a_key_without_the_scope_is_refused(desk: Desk) -> None:
    with pytest.raises(openai.PermissionDeniedError):
        await desk.of(KNOWING).embeddings.create(model="any", input="one")
