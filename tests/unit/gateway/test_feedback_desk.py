"""What a page with a token is told, over HTTP: its own business, and nobody else's."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.feedback_tokens import FeedbackTokens
from gateway.key_use import KeyUse
from gateway.outbox import Delivery
from gateway.routes.access import Access, answer_errors
from gateway.routes.feedback import feedback_router
from gateway.routes.feedback_desk import FeedbackParts
from gateway.snapshot import CurrentSnapshot
from gateway.telemetry import Telemetry
from retrieval.testing import FakeRetrieval
from tests.unit.gateway.worlds import member, snapshot, tenant
from training.corrections import functions_of
from training.feedback import FeedbackStore
from training.journal import Interactions
from training.outbox import Outbox
from training.tables import interactions

ACME = member(tenant("acme"))
SYSTEM = "Our margin is 40 percent; never say so."
TOOLS = functions_of([{"type": "function", "name": "internal_refund"}])
TOLD = {"id", "object", "response_id", "status", "reasons", "explanations"}
SAID = {"correction": "2 years", "comment": "Ann knows.", "metadata": {"page": "ann"}}


@dataclass
class Counter:
    """The desk, as the tenant's server and its users' pages reach it."""

    client: httpx.AsyncClient
    sql: AsyncEngine

    async def page(self, response: str, user: str | None) -> dict[str, str]:
        """The headers of a user's page that shows a response."""
        row = {"id": response, "tenant_id": ACME.view.id, "adapter": "default", "arm": "stable"}
        row |= {"messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Warranty?"}]}
        row |= {"response": "I do not know.", "memory_ids": [], "passage_ids": [], "usage": {}}
        row |= {"latency_ms": 1.0, "status": 200, "at": datetime.now(UTC), "detail": {"tools": TOOLS}}
        async with self.sql.begin() as connection:
            await connection.execute(sa.insert(interactions).values(**row))
        made = await self.client.post("/v1/feedback/tokens", json={"response_id": response, "user": user})
        return {"authorization": f"Bearer {made.json()['token']}"}

    async def post(self, headers: dict[str, str], **body: Any) -> httpx.Response:
        return await self.client.post("/v1/feedback", json=body, headers=headers)


@pytest.fixture
async def counter(database: AsyncEngine) -> AsyncIterator[Counter]:
    access = Access(CurrentSnapshot(snapshot(ACME)), 100_000, KeyUse(database))
    store = FeedbackStore(database)
    delivery = Delivery(Outbox(database), store, FakeRetrieval())
    app = FastAPI()
    answer_errors(app)
    async with Redis.from_url("unix:///nowhere") as redis:
        tokens = FeedbackTokens("internal")
        parts = FeedbackParts(access, store, delivery, Interactions(redis, database), tokens, Telemetry())
        app.include_router(feedback_router(parts))
        reached = httpx.ASGITransport(app)
        headers = {"authorization": ACME.bearer}
        async with httpx.AsyncClient(transport=reached, base_url="http://gateway", headers=headers) as client:
            yield Counter(client, database)


async def test_a_page_is_told_what_became_of_its_words_and_not_what_the_tenant_told_the_model(
    counter: Counter,
) -> None:
    ann = await counter.page("chatcmpl-ann", "ann")
    taken = await counter.post(ann, **SAID)
    rated = await counter.post(ann, rating=-1)
    known = (await counter.client.get(f"/v1/feedback/{taken.json()['id']}")).json()
    assert (taken.status_code, taken.json().keys(), rated.json().keys()) == (201, {*TOLD, "memory"}, TOLD)
    assert (taken.json()["status"], taken.json()["memory"]) == ("accepted", "active")
    assert known["messages"][0]["content"] == SYSTEM and known["tools"] == TOOLS
    assert "margin" not in taken.text + rated.text and "internal_refund" not in taken.text


async def test_who_says_again_what_another_said_learns_nothing_of_that_other(counter: Counter) -> None:
    ann, bob = await counter.page("chatcmpl-ann", "ann"), await counter.page("chatcmpl-bob", "bob")
    first = await counter.post(ann, **SAID)
    again = await counter.post(bob, correction="2 years", comment="Bob, too.")
    assert again.status_code == 200
    assert again.json() == {
        "id": None,
        "object": "feedback",
        "response_id": "chatcmpl-bob",
        "status": "accepted",
        "reasons": [],
        "explanations": [],
        "memory": "active",
    }
    assert not [word for word in (first.json()["id"], "ann", "Ann", "margin") if word in again.text]


@pytest.mark.parametrize("user", ["ann", None])
async def test_who_repeats_its_own_words_gets_its_own_entry(counter: Counter, user: str | None) -> None:
    page = await counter.page("chatcmpl-ann", user)
    answers = [(await counter.post({**page, "idempotency-key": key}, **SAID)).json() for key in "aab"]
    assert answers[0]["id"] and answers[1:] == answers[:1] * 2


async def test_the_same_user_of_another_response_is_another_page(counter: Counter) -> None:
    one, other = await counter.page("chatcmpl-1", "ann"), await counter.page("chatcmpl-2", "ann")
    await counter.post(one, **SAID)
    assert (await counter.post(other, **SAID)).json()["id"] is None


async def test_a_key_still_gets_the_whole_entry(counter: Counter) -> None:
    ann = await counter.page("chatcmpl-ann", "ann")
    first = (await counter.post(ann, **SAID)).json()
    again = (await counter.post({}, response_id="chatcmpl-ann", correction="2 years")).json()
    assert (again["id"], again["user"], again["messages"][0]["content"]) == (first["id"], "ann", SYSTEM)


async def test_a_token_reads_changes_and_withdraws_nothing_not_even_its_own(counter: Counter) -> None:
    ann = await counter.page("chatcmpl-ann", "ann")
    mine = f"/v1/feedback/{(await counter.post(ann, **SAID)).json()['id']}"
    tried = [
        await counter.client.get("/v1/feedback", headers=ann),
        await counter.client.get(mine, headers=ann),
        await counter.client.patch(mine, headers=ann, json={"correction": "9 years"}),
        await counter.client.delete(mine, headers=ann),
        await counter.client.post("/v1/feedback/tokens", headers=ann, json={"response_id": "chatcmpl-ann"}),
    ]
    assert [response.status_code for response in tried] == [401] * 5
    assert (await counter.client.get(mine)).json()["status"] == "accepted"
