"""OpenAI's own clients for one tenant of a house, and the engine's own word on whether it works for them."""

import time

import httpx
import openai

from deploy.demo.serving import RunningEngine
from tests.integration.gateway_house import Customer
from tests.waiting import until


def official(customer: Customer) -> openai.AsyncOpenAI:
    """Closed when its customer leaves."""
    client = openai.AsyncOpenAI(**_options(customer))
    customer.closing.push_async_callback(client.close)
    return client


def official_sync(customer: Customer) -> openai.OpenAI:
    return openai.OpenAI(**_options(customer))


def counted(customer: Customer, retries: int) -> tuple[openai.AsyncOpenAI, list[float]]:
    """A client, and when it has sent each of its requests."""
    sent: list[float] = []

    async def note(_: httpx.Request) -> None:
        sent.append(time.monotonic())

    http = httpx.AsyncClient(event_hooks={"request": [note]}, trust_env=False)
    customer.closing.push_async_callback(http.aclose)
    return official(customer).with_options(max_retries=retries, http_client=http), sent


def _options(customer: Customer) -> dict:
    key = customer.client.headers["authorization"].removeprefix("Bearer ")
    url = str(customer.client.base_url.join("/v1"))
    return {"api_key": key, "base_url": url, "max_retries": 0, "timeout": 60}


async def gauge(customer: Customer, engine: RunningEngine, name: str) -> float:
    """What one of the engine's own metrics says."""
    text = (await customer.client.get(f"{engine.url}/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith(name)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


async def running(customer: Customer, engine: RunningEngine, *, at_least_one: bool) -> None:
    """Wait until the engine's own gauge says that it has, or has not, a request running."""

    async def so() -> bool:
        return (await gauge(customer, engine, "vllm:num_requests_running") > 0) == at_least_one

    await until(so)
