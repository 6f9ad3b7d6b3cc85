"""OpenAI's own Python client against completions and responses. The record, Redis and the encoder are real; the
engine is an upstream of ours, whose answers are known. `test_gateway_generation.py` asks the real one."""

import asyncio
from collections.abc import AsyncIterator

import openai
import pytest
import pytest_asyncio

from gateway.policy import Policy
from tests.integration.gateway_house import Customer, House, house
from tests.integration.openai_clients import counted, official, official_sync
from tests.unit.gateway.stub_engine import StubEngine, served
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = "Hello there"


@pytest.fixture(scope="module")
def stub() -> StubEngine:
    return StubEngine()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def built(stub: StubEngine, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with served(stub) as url, house(tmp_path_factory.mktemp("house"), url, "internal") as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def acme(built: House, stub: StubEngine) -> AsyncIterator[Customer]:
    """A tenant; afterwards the stub behaves again."""
    async with built.customer("acme") as customer:
        yield customer
    stub.status, stub.break_after = 200, None
    stub.asked.clear()


async def test_a_completion_is_created(acme: Customer) -> None:
    answer = await official(acme).completions.create(model="default", prompt="Hello?")
    assert (answer.model, answer.choices[0].text) == ("default", TEXT)
    assert answer.usage is not None and answer.usage.total_tokens == 9


async def test_a_completion_is_streamed_with_its_usage(acme: Customer) -> None:
    stream = await official(acme).completions.create(
        model="default", prompt="Hello?", stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == TEXT
    assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens == 9
    assert len({chunk.id for chunk in chunks}) == 1


async def test_a_response_is_created_fetched_and_deleted(acme: Customer) -> None:
    client = official(acme)
    made = await client.responses.create(model="default", input="Hello?", instructions="Be brief.")
    assert (made.output_text, made.status, made.instructions) == (TEXT, "completed", "Be brief.")
    assert made.usage is not None and made.usage.total_tokens == 9
    assert await client.responses.retrieve(made.id) == made
    await client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(made.id)


async def test_a_conversation_goes_on_from_a_response(acme: Customer, stub: StubEngine) -> None:
    client = official(acme)
    first = await client.responses.create(model="default", input="Hello?")
    second = await client.responses.create(model="default", input="Why?", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert [item["role"] for item in stub.asked[-1]["input"]] == ["user", "assistant", "user"]
    assert stub.asked[-1]["store"] is False


async def test_a_response_is_streamed_event_by_event(acme: Customer) -> None:
    stream = await official(acme).responses.create(model="default", input="Hello?", stream=True)
    events = [event async for event in stream]
    assert [event.type for event in events][:2] == ["response.created", "response.in_progress"]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    last = events[-1]
    assert last.type == "response.completed" and "".join(deltas) == last.response.output_text == TEXT
    assert [event.sequence_number for event in events] == list(range(len(events)))


async def test_the_clients_own_stream_reader_understands_the_events(acme: Customer) -> None:
    async with official(acme).responses.stream(model="default", input="Hello?") as stream:
        final = await stream.get_final_response()
    assert (final.output_text, final.model) == (TEXT, "default")
    assert (await official(acme).responses.retrieve(final.id)).output_text == TEXT


async def test_the_blocking_client_works_as_well(acme: Customer) -> None:
    def both() -> tuple[str, str]:
        with official_sync(acme) as client:
            completed = client.completions.create(model="default", prompt="Hello?")
            answered = client.responses.create(model="default", input="Hello?", store=False)
            return completed.choices[0].text, answered.output_text

    assert await asyncio.to_thread(both) == (TEXT, TEXT)


async def test_headers_can_be_read_from_the_raw_response(acme: Customer) -> None:
    client = official(acme)
    completed = await client.completions.with_raw_response.create(model="default", prompt="Hello?")
    answered = await client.responses.with_raw_response.create(model="default", input="Hello?")
    for raw in (completed, answered):
        assert raw.headers["x-graft-version"] == "base"
        assert raw.headers["x-request-id"].startswith("req_")
        assert float(raw.headers["x-graft-overhead-ms"]) >= 0
    assert answered.parse().id == f"resp_{answered.headers['x-request-id'].removeprefix('req_')}"


async def test_errors_are_the_clients_own_classes(acme: Customer) -> None:
    client = official(acme)
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.completions.create(model="nobodys", prompt="Hello?")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as wrong:
        await client.responses.create(model="default", input="Hello?", background=True)
    assert wrong.value.param == "background"
    with pytest.raises(openai.NotFoundError) as foreign:
        await client.responses.create(model="default", input="Hello?", previous_response_id="resp_nobodys")
    assert foreign.value.param == "previous_response_id"
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="gk-00-00").responses.retrieve("resp_nobodys")


async def test_a_limit_is_the_clients_rate_limit_error(built: House, acme: Customer) -> None:
    policy = Policy.model_validate({"limits": {"requests_per_minute": 1}})
    _, change = await built.tenants.put_policy(acme.id, policy, "test")
    await built.applied(change)
    await official(acme).completions.create(model="default", prompt="Hello?")
    with pytest.raises(openai.RateLimitError) as limited:
        await official(acme).responses.create(model="default", input="Hello?")
    assert int(limited.value.response.headers["retry-after-ms"]) > 0


async def test_a_retry_waits_as_long_as_it_was_told(acme: Customer, stub: StubEngine) -> None:
    stub.status = 500
    client, sent = counted(acme, 1)
    asked = asyncio.create_task(client.completions.create(model="default", prompt="Hello?"))
    await until(lambda: bool(stub.asked))
    stub.status = 200
    assert (await asked).choices[0].text == TEXT
    assert len(sent) == 2 and sent[1] - sent[0] >= 1.0


async def test_what_x_should_retry_forbids_is_not_tried_again(built: House, acme: Customer) -> None:
    policy = Policy.model_validate({"limits": {"tokens_per_day": 1}})
    _, change = await built.tenants.put_policy(acme.id, policy, "test")
    await built.applied(change)
    client, sent = counted(acme, 3)
    await client.completions.create(model="default", prompt="Hello?")
    with pytest.raises(openai.RateLimitError) as spent:
        await client.completions.create(model="default", prompt="Hello?")
    assert (spent.value.code, len(sent)) == ("insufficient_quota", 2)


@pytest.mark.parametrize("endpoint", ["completions", "responses"])
async def test_a_stream_that_is_closed_half_way_stops_the_engine(
    acme: Customer, stub: StubEngine, endpoint: str
) -> None:
    before, stub.hold = stub.left, asyncio.Event()
    asked = {"prompt": "Hello?"} if endpoint == "completions" else {"input": "Hello?"}
    stream = await getattr(official(acme), endpoint).create(model="default", stream=True, **asked)
    async for _ in stream:
        break
    await stream.close()
    await until(lambda: stub.left == before + 1)
    stub.hold = None


async def test_every_answer_has_a_request_id(acme: Customer) -> None:
    client = official(acme)
    assert (await client.models.list())._request_id.startswith("req_")
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.models.retrieve("nobodys")
    assert unknown.value.request_id is not None and unknown.value.request_id.startswith("req_")


async def test_a_failing_engine_is_the_clients_server_error(acme: Customer, stub: StubEngine) -> None:
    stub.status = 500
    with pytest.raises(openai.InternalServerError) as failed:
        await official(acme).responses.create(model="default", input="Hello?")
    assert failed.value.status_code == 503


@pytest.mark.parametrize("endpoint", ["completions", "responses"])
async def test_an_engine_that_dies_in_the_middle_raises_in_the_client(
    acme: Customer, stub: StubEngine, endpoint: str
) -> None:
    stub.break_after = 2
    asked = {"prompt": "Hello?"} if endpoint == "completions" else {"input": "Hello?"}
    stream = await getattr(official(acme), endpoint).create(model="default", stream=True, **asked)
    with pytest.raises(openai.APIError) as died:
        _ = [event async for event in stream]
    assert died.value.code == "engine_unavailable"


async def test_a_tenant_cannot_reach_anothers_response(built: House, acme: Customer) -> None:
    made = await official(acme).responses.create(model="default", input="Hello?")
    async with built.customer("globex") as globex:
        with pytest.raises(openai.NotFoundError):
            await official(globex).responses.retrieve(made.id)
        with pytest.raises(openai.NotFoundError):
            await official(globex).responses.delete(made.id)
        with pytest.raises(openai.NotFoundError):
            await official(globex).responses.create(model="default", input="Hi", previous_response_id=made.id)
    assert (await official(acme).responses.retrieve(made.id)).id == made.id


async def test_a_response_can_be_corrected_by_its_id(acme: Customer) -> None:
    made = await official(acme).responses.create(model="default", input="What is the warranty?")
    body = {"response_id": made.id, "correction": "2 years"}
    posted = await acme.client.post("/v1/feedback", json=body)
    again = await official(acme).responses.with_raw_response.create(
        model="default", input="What is the warranty?"
    )
    assert posted.json()["memory"] == "active"
    assert again.headers["x-graft-memory"] == posted.json()["id"]
    assert again.parse().instructions is None
