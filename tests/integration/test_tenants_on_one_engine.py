"""What a real vLLM keeps and shows of all that it serves, and what of it one tenant gets to feel of another."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import psutil
import pytest

from adapters.types import Alias, Lineage, Version, VersionStatus
from adapters.vllm import VllmEngine
from deploy.demo.serving import RunningEngine
from gateway.loader import SnapshotLoader
from tests.integration.gateway_house import BASE_DIGEST, Customer, House, house
from tests.integration.prefix_cache import PROMPT, hits_of
from tests.integration.random_adapters import Write

pytestmark = pytest.mark.slow


@pytest.fixture
async def at(engine: RunningEngine, tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path, engine.url, engine.token, searching=False) as made:
        yield made


async def direct(engine: RunningEngine, model: str, salt: str = "") -> str:
    """What the engine answers by itself. salt: by default one that nobody has used."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": PROMPT}],
        "temperature": 0,
        "max_tokens": 8,
        "cache_salt": salt or secrets.token_hex(8),
    }
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        headers = {"authorization": f"Bearer {engine.token}"}
        answer = await http.post(f"{engine.url}/v1/chat/completions", json=body, headers=headers)
    return str(answer.json()["choices"][0]["message"]["content"])


async def asked(customer: Customer, **more: object) -> str:
    answer = await customer.ask(PROMPT, temperature=0, max_tokens=8, **more)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


async def served(at: House, vllm: VllmEngine, customer: Customer, files: Path) -> Version:
    """The customer's stable version from here on."""
    digest = f"sha256:{secrets.token_hex(32)}"
    version = await at.registry.register(customer.id, "default", digest, Lineage(BASE_DIGEST), {})
    await vllm.load(version.id, files)
    await at.registry.set_status(version.id, VersionStatus.APPROVED)
    move = await at.registry.move_alias(customer.id, "default", Alias.STABLE, version.id, "test")
    await at.applied(move.change)
    return version


async def test_no_version_is_answered_from_what_another_has_computed(
    engine: RunningEngine, vllm: VllmEngine, write: Write
) -> None:
    """Under one salt, as two versions of a tenant are asked."""
    names, salt = ("base", "ver_one", "ver_two"), secrets.token_hex(8)
    for seed, name in enumerate(names[1:]):
        await vllm.load(name, write(seed))
    cold = {name: await direct(engine, name) for name in names}
    first = {name: await hits_of(engine.url, direct(engine, name, salt)) for name in names}
    again = {name: await hits_of(engine.url, direct(engine, name, salt)) for name in names}
    assert len(set(cold.values())) == len(names)
    assert first == {name: (0, text) for name, text in cold.items()}
    assert {name: text for name, (_, text) in again.items()} == cold
    assert all(hits > 100 for hits, _ in again.values())


async def test_a_swap_brings_nothing_along_of_what_the_version_before_has_computed(
    engine: RunningEngine, vllm: VllmEngine, write: Write, at: House
) -> None:
    async with at.customer("acme") as acme:
        first = await served(at, vllm, acme, write(1))
        before = await asked(acme)
        second = await served(at, vllm, acme, write(2))
        assert await hits_of(engine.url, asked(acme)) == (0, await direct(engine, second.id))
        move = await at.registry.move_alias(
            acme.id, "default", Alias.STABLE, first.id, "test", rolled_back=True
        )
        await at.applied(move.change)
        hits, text = await hits_of(engine.url, asked(acme))
    assert hits > 100 and text == before == await direct(engine, first.id)


async def test_tenants_cannot_tell_what_others_have_asked_of_the_same_weights(
    engine: RunningEngine, at: House
) -> None:
    """Not even with the salt of another, which it would have to guess."""
    async with at.customer("acme") as acme, at.customer("globex") as globex:
        salt = (await SnapshotLoader(at.record, engine.token).load()).tenants[acme.id].cache_salt
        found = []
        for customer in (acme, acme, globex):
            found.append((await hits_of(engine.url, asked(customer, model="base")))[0])
        assert (found[0], found[2]) == (0, 0) and found[1] > 100
        assert (await hits_of(engine.url, direct(engine, "base", salt)))[0] > 100
    async with at.customer("initech") as initech:
        assert (await hits_of(engine.url, asked(initech, model="base", cache_salt=salt)))[0] == 0


async def test_a_tenant_sees_none_of_the_versions_and_paths_that_the_engine_lists(
    engine: RunningEngine, vllm: VllmEngine, write: Write, at: House, tmp_path: Path
) -> None:
    async with at.customer("acme") as acme, at.customer("globex") as globex:
        theirs, mine = [
            await served(at, vllm, customer, write(seed)) for seed, customer in enumerate((acme, globex))
        ]
        headers = {"authorization": f"Bearer {engine.token}"}
        async with httpx.AsyncClient(trust_env=False, headers=headers) as http:
            listed = (await http.get(f"{engine.url}/v1/models")).text
        secret = (theirs.id, mine.id, str(tmp_path))
        assert all(word in listed for word in secret)
        shown = (await globex.client.get("/v1/models")).text
        answers = [await globex.client.post("/v1/completions", json={"model": theirs.id, "prompt": "Hello"})]
        answers += [await globex.client.get(f"/v1/models/{each}") for each in (theirs.id, mine.id)]
    assert '"default@v1"' in shown and not any(word in shown for word in secret)
    assert {answer.status_code for answer in answers} == {404}


async def test_requests_are_counted_by_version_which_the_engine_does_not(
    engine: RunningEngine, vllm: VllmEngine, write: Write, at: House
) -> None:
    async with at.customer("acme") as acme, httpx.AsyncClient(trust_env=False) as http:
        await asked(acme)
        version = await served(at, vllm, acme, write(1))
        for _ in range(2):
            await asked(acme)
        engines = (await http.get(f"{engine.url}/metrics")).text.splitlines()
        ours = (await http.get(f"{at.url}/metrics")).text.splitlines()
    assert {line.split("{")[0] for line in engines if version.id in line} <= {"vllm:lora_requests_info"}
    counted = [line for line in ours if line.startswith("gen_ai_server_request_duration_seconds_count{")]
    of = {"base": 1.0, "default@v1": 2.0}
    for label, times in of.items():
        (line,) = [line for line in counted if f'version="{label}"' in line and acme.id in line]
        assert float(line.rsplit(" ", 1)[1]) == times


async def test_only_this_machine_reaches_an_engine(engine: RunningEngine) -> None:
    """What it asks no token for is open to whoever does."""
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(f"{engine.url}/metrics")).status_code == 200
    started = psutil.Process(engine.pid)
    found = {
        connection.laddr.ip
        for process in (started, *started.children(recursive=True))
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert found == {"127.0.0.1"}
