"""Two workers of one gateway, each with its own snapshot and limits, agree on what a tenant may do and gets."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import pytest
import pytest_asyncio

from adapters.types import Alias, Lineage, VersionStatus
from gateway.app import data_plane
from gateway.policy import Policy
from tests.integration.gateway_house import BASE_DIGEST, Customer, House, house, listening
from tests.integration.rough_engine import RoughEngine, rough_engine
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

WITHIN_S = 1.0
HEARD_WITHIN_S = 0.5
"""Sooner than by polling."""
QUIET = {"retrieval": {"enabled": False}, "memory": {"enabled": False}}


@dataclass(frozen=True)
class Pair:
    house: House
    urls: Sequence[str]

    async def applied(self, change: int) -> None:
        await self.house.workers.announce(change)
        assert await self.house.workers.wait_for(change, 10.0) == len(self.urls)

    async def ask(self, customer: Customer, worker: int) -> httpx.Response:
        """A request to one of the workers."""
        body = {"model": "default", "messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 5}
        return await customer.client.post(f"{self.urls[worker]}/v1/chat/completions", json=body)

    async def limit(self, customer: Customer, **limits: int) -> None:
        policy = Policy.model_validate({**QUIET, "limits": limits})
        _, change = await self.house.tenants.put_policy(customer.id, policy, "test")
        await self.applied(change)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[RoughEngine]:
    async with rough_engine() as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(engine: RoughEngine, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    directory = tmp_path_factory.mktemp("house")
    async with (
        house(directory, engine.url, "internal", searching=False) as built,
        data_plane(built.settings) as second,
        listening(second) as url,
    ):
        yield Pair(built, (built.url, url))


async def test_a_limit_is_one_limit(pair: Pair) -> None:
    async with pair.house.customer("acme") as acme:
        await pair.limit(acme, requests_per_minute=10)
        started = time.monotonic()
        statuses = [(await pair.ask(acme, number % 2)).status_code for number in range(30)]
    forgotten = int((time.monotonic() - started) * 10 / 60)
    assert 10 <= statuses.count(200) <= 10 + forgotten
    assert statuses.count(200) + statuses.count(429) == 30
    assert 200 in statuses[::2] and 200 in statuses[1::2]


async def test_places_are_counted_over_both(pair: Pair, engine: RoughEngine) -> None:
    async with pair.house.customer("acme") as acme:
        await pair.limit(acme, concurrency=3)
        engine.way = "slow"
        answers = await asyncio.gather(*(pair.ask(acme, number % 2) for number in range(8)))
        engine.way = "well"
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(429)) == (3, 5)


async def test_a_revoked_key_is_refused_by_both_within_a_second(pair: Pair) -> None:
    """Even when nobody hears the announcement. Each but the first comes when a worker has just polled, the longest
    wait; of these the better one counts, for the machine may have stood still in the other."""
    took = []
    async with AsyncExitStack() as stack:
        three = [await stack.enter_async_context(pair.house.customer("acme")) for _ in range(3)]
        for acme in three:
            await pair.limit(acme)
        for acme in three:
            assert [(await pair.ask(acme, worker)).status_code for worker in (0, 1)] == [200, 200]
            await pair.house.tenants.revoke_key(acme.id, acme.key_id, "test")
            revoked = time.monotonic()

            async def refused(acme: Customer = acme) -> bool:
                return [(await pair.ask(acme, worker)).status_code for worker in (0, 1)] == [401, 401]

            await until(refused)
            took.append(time.monotonic() - revoked)
    assert min(took[1:]) <= WITHIN_S, took


async def test_when_a_worker_stops_the_record_says_when_the_keys_that_it_served_were_last_used(
    pair: Pair,
) -> None:
    built, began = pair.house, datetime.now(UTC)
    async with built.customer("acme") as acme, built.customer("globex") as globex:
        async with data_plane(built.settings) as third, listening(third) as url:
            body = {"model": "default", "messages": [{"role": "user", "content": "Hello?"}]}
            asked = await acme.client.post(f"{url}/v1/chat/completions", json=body)
            listed = await globex.client.get(f"{url}/v1/models")
        used = [(await built.tenants.keys_of(each.id))[0].last_used_at for each in (acme, globex)]
    assert (asked.status_code, listed.status_code) == (200, 200)
    assert all(at is not None and began <= at <= datetime.now(UTC) for at in used)


@pytest.mark.parametrize("announced", [True, False])
async def test_a_changed_policy_counts_in_both_within_a_second(pair: Pair, announced: bool) -> None:
    """As above."""
    took = []
    async with pair.house.customer("acme") as acme:
        for limit in ("10001", "10002", "10003"):
            policy = Policy.model_validate({**QUIET, "limits": {"requests_per_minute": limit}})
            _, change = await pair.house.tenants.put_policy(acme.id, policy, "test")
            changed = time.monotonic()
            if announced:
                await pair.house.workers.announce(change)

            async def counts(limit: str = limit) -> bool:
                answers = [await pair.ask(acme, worker) for worker in (0, 1)]
                return {answer.headers.get("x-ratelimit-limit-requests") for answer in answers} == {limit}

            await until(counts)
            took.append(time.monotonic() - changed)
    assert min(took[1:]) <= (HEARD_WITHIN_S if announced else WITHIN_S), took


async def test_after_a_swap_both_serve_the_new_version(pair: Pair) -> None:
    async with pair.house.customer("acme") as acme, pair.house.customer("globex") as globex:
        await pair.limit(acme)
        for number in (1, 2):
            registry = pair.house.registry
            made = await registry.register(acme.id, "default", f"sha256:{number}", Lineage(BASE_DIGEST), {})
            await registry.set_status(made.id, VersionStatus.APPROVED)
            move = await registry.move_alias(acme.id, "default", Alias.STABLE, made.id, "test")
            await pair.applied(move.change)
            labels = [(await pair.ask(acme, worker)).headers["x-graft-version"] for worker in (0, 1)]
            assert labels == [f"default@v{number}"] * 2
        await pair.limit(globex)
        assert (await pair.ask(globex, 1)).headers["x-graft-version"] == "base"


async def test_what_one_worker_keeps_the_other_goes_on_from_and_deletes(pair: Pair) -> None:
    first, second = (f"{url}/v1/responses" for url in pair.urls)
    async with pair.house.customer("acme") as acme:
        made = (await acme.client.post(first, json={"model": "default", "input": "Hello?"})).json()
        body = {"model": "default", "input": "Why?", "previous_response_id": made["id"]}
        events = (await acme.client.post(second, json={**body, "stream": True})).text
        last = json.loads(events.rstrip().rsplit("\ndata: ", 1)[1])["response"]
        listed = (await acme.client.get(f"{first}/{last['id']}/input_items?order=asc")).json()["data"]
        gone = await acme.client.delete(f"{second}/{made['id']}")
        unknown = await acme.client.get(f"{first}/{made['id']}")
    assert [item["role"] for item in listed] == ["user", "assistant", "user"]
    assert (last["previous_response_id"], gone.status_code, unknown.status_code) == (made["id"], 200, 404)
