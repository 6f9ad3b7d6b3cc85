"""What is posted about a response, by a page with a token too: a real gateway without engine and retrieval."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from gateway.app import data_plane
from gateway.feedback_tokens import Claims, FeedbackTokens
from gateway.keys import Scope
from tests.integration.gateway_house import NOWHERE, Customer, House, house, listening
from training.corrections import functions_of
from training.feedback import MAX_PER_RESPONSE
from training.tables import interactions

SECRET = "internal"
RESPONSE = "chatcmpl-1"


@pytest.fixture
async def built(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[House]:
    places = {"database_url": database_url, "redis_url": redis_url}
    async with house(tmp_path, NOWHERE, SECRET, searching=False, **places) as made:
        yield made


async def logged(built: House, customer: Customer, **more: Any) -> None:
    row: dict[str, Any] = {"id": RESPONSE, "tenant_id": customer.id, "adapter": "default", "arm": "stable"}
    row |= {
        "usage": {},
        "messages": [{"role": "user", "content": "What is a lamp?"}],
        "response": "I do not know.",
    }
    row |= {"memory_ids": [], "passage_ids": [], "latency_ms": 1.0, "status": 200, "at": datetime.now(UTC)}
    async with built.record.begin() as connection:
        await connection.execute(sa.insert(interactions).values(**row | more))


def bearing(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}", "origin": "https://shop.example"}


async def post(customer: Customer, token: str, **body: object) -> httpx.Response:
    return await customer.client.post("/v1/feedback", json=body, headers=bearing(token))


async def test_a_token_that_has_expired_is_refused_in_a_way_that_a_page_can_read(built: House) -> None:
    async with built.customer("acme") as acme:
        await logged(built, acme)
        made = await acme.client.post("/v1/feedback/tokens", json={"response_id": RESPONSE, "expires_in": 60})
        lasts = made.json()["expires_at"] - datetime.now(UTC).timestamp()
        key = acme.client.headers["authorization"].split("-")[1]
        gone = int(datetime.now(UTC).timestamp())
        expired = FeedbackTokens(SECRET).mint(Claims(acme.id, key, RESPONSE, None, gone))
        refused = await post(acme, expired, rating=-1)
        taken = await post(acme, made.json()["token"], rating=-1)
        short = await acme.client.post("/v1/feedback/tokens", json={"response_id": RESPONSE, "expires_in": 1})
    assert 50 < lasts <= 60
    assert (refused.status_code, refused.json()["error"]["message"]) == (
        401,
        "The feedback token has expired.",
    )
    assert refused.headers["access-control-allow-origin"] == "*"
    assert (taken.status_code, short.status_code) == (201, 400)


async def test_a_page_can_say_so_much_about_its_response_and_no_more(built: House) -> None:
    async with built.customer("acme") as acme:
        await logged(built, acme)
        made = await acme.client.post("/v1/feedback/tokens", json={"response_id": RESPONSE})
        said = [
            (await post(acme, made.json()["token"], rating=1, comment=f"{number}")).status_code
            for number in range(MAX_PER_RESPONSE)
        ]
        over = await post(acme, made.json()["token"], correction="2 years")
        own = await acme.client.post(
            "/v1/feedback", json={"response_id": RESPONSE, "correction": "2 years", "rating": 1}
        )
        kept = (await acme.client.get(f"/v1/feedback?response_id={RESPONSE}&limit=100")).json()["data"]
    assert set(said) == {201}
    assert (over.status_code, over.json()["error"]["type"]) == (429, "rate_limit_error")
    assert own.status_code == 201 and len(kept) == MAX_PER_RESPONSE + 1


async def test_a_correction_keeps_the_functions_that_its_request_offered(built: House) -> None:
    flat = {"type": "function", "name": "look_up", "description": None, "parameters": None}
    tools = functions_of([flat])
    asked = [{"role": "user", "content": "Where is my order?"}]
    async with built.customer("acme") as acme:
        await logged(built, acme, detail={"scores": {}, "tools": tools})
        said = {
            "response_id": RESPONSE,
            "correction": "2 years",
            "tools": [{"type": "function", "name": "no"}],
        }
        of_response = (await acme.client.post("/v1/feedback", json=said)).json()
        own = {"messages": asked, "correction": "On its way.", "tools": [flat]}
        of_messages = (await acme.client.post("/v1/feedback", json=own)).json()
        plain = (
            await acme.client.post("/v1/feedback", json={"messages": asked, "correction": "Here."})
        ).json()
        bad = await acme.client.post("/v1/feedback", json={**own, "tools": "look_up"})
    assert of_response["tools"] == of_messages["tools"] == tools
    assert "tools" not in plain
    assert (bad.status_code, bad.json()["error"]["param"]) == (400, "tools")


CALL = {"type": "function", "function": {"name": "look_up", "arguments": '{"order": 7}'}}


@pytest.mark.parametrize("parser", ["llama3_json", ""])
async def test_a_call_of_tools_is_no_correction_where_the_engine_reads_calls_in_another_form(
    built: House, parser: str
) -> None:
    asked = {"messages": [{"role": "user", "content": "Where is my order?"}]}
    calling = {"correction": {"role": "assistant", "tool_calls": [CALL]}}
    told = built.settings.model_copy(update={"tool_parser": parser})
    async with data_plane(told) as plane, listening(plane) as url, built.customer("acme") as acme:
        path = f"{url}/v1/feedback"
        posted = await acme.client.post(path, json=asked | calling)
        text = await acme.client.post(path, json=asked | {"correction": "On its way."})
        edited = await acme.client.patch(f"{path}/{text.json()['id']}", json=calling)
    assert text.status_code == 201
    for refused in (posted, edited):
        error = refused.json()["error"]
        assert (refused.status_code, error["param"]) == (400, "correction.tool_calls")
        assert "`hermes`" in error["message"] and f"`{parser or 'none'}`" in error["message"]


async def test_corrections_that_contradict_each_other_at_once_all_wait(built: House) -> None:
    """Of end users, posted to two workers."""
    asked = {"messages": [{"role": "user", "content": "How long is the warranty?"}]}
    async with (
        data_plane(built.settings) as plane,
        listening(plane) as url,
        built.customer("acme", Scope.FEEDBACK) as acme,
    ):
        said = [{**asked, "correction": f"{n} years", "user": f"user {n}"} for n in range(2, 8)]
        places = [f"{url}/v1/feedback", "/v1/feedback"] * 3
        posted = [acme.client.post(place, json=body) for place, body in zip(places, said, strict=True)]
        answers = await asyncio.gather(*posted)
        kept = (await acme.client.get("/v1/feedback?limit=100")).json()["data"]
    assert [answer.status_code for answer in answers] == [201] * 6
    assert [(each["status"], each["reasons"]) for each in kept] == [("quarantined", ["contradiction"])] * 6


async def test_a_correction_repeated_at_once_under_one_key_is_one(built: House) -> None:
    body = {"messages": [{"role": "user", "content": "How long is the warranty?"}], "correction": "2 years"}
    headers = {"idempotency-key": "once"}
    async with built.customer("acme") as acme:
        posts = [acme.client.post("/v1/feedback", json=body, headers=headers) for _ in range(6)]
        answers = await asyncio.gather(*posts)
        other = await acme.client.post("/v1/feedback", json=body | {"correction": "3 years"}, headers=headers)
    assert {answer.status_code for answer in answers} <= {200, 201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")
    assert other.headers["x-should-retry"] == "false"
