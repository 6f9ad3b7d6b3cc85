"""Part `adapters`: 100 hot swaps through the admin API, under requests of two tenants from an outside client.

The swapped tenant streams without pause; every stream must be, from its first token to its last, the text that the
version in its header gives. The other tenant streams too, and what is measured of it is the time between two of its
tokens, around swaps and without any.
"""

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from adapters.types import DEFAULT_ADAPTER
from tests.bench.part import Options, Outcome
from tests.bench.processes import BenchError, Cores
from tests.bench.swap_figures import SWAPS, Seen, Swap, figures, timings
from tests.bench.visible import Watch, watching
from tests.integration.random_adapters import FREQUENT
from tests.integration.town import BASE_MODEL, Town, planned, town

VERSIONS = 6
"""The swapped tenant's; a swap goes to the next in turn, which the engine has forgotten meanwhile."""
STREAMS = 2
"""Of each tenant, at any time."""
TOKENS = 16
BEFORE_S, AFTER_S = 0.5, 1.5
"""The two seconds around a swap, counted from its request."""
WORKERS = 2
PACE_S = 2.2
WARM_UP_S = 5.0
ASKED = [{"role": "user", "content": "What are your opening hours?"}]


@dataclass(frozen=True)
class Tenant:
    id: str
    headers: Mapping[str, str]
    texts: Mapping[str, str]
    """What each version says, asked alone."""
    seen: Seen


def run(options: Options) -> Outcome:
    """seconds: how long the time without swaps lasts; as many seconds follow after the swaps."""
    cores = Cores.of_this_machine()
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cores.load})
    try:
        with tempfile.TemporaryDirectory(prefix="graft-bench-") as name:
            return asyncio.run(_run(options, Path(name), cores))
    finally:
        os.sched_setaffinity(0, before)


async def _run(options: Options, directory: Path, cores: Cores) -> Outcome:
    plan = planned(directory, BASE_MODEL, workers=WORKERS)
    async with (
        town(plan) as place,
        httpx.AsyncClient(base_url=plan.gateway_url, trust_env=False, timeout=60) as http,
    ):
        await place.start("redis", cores.load)
        await place.start("engine", cores.proxy)
        names = ["control", *(f"gateway-{number + 1}" for number in range(WORKERS))]
        await asyncio.gather(*(place.start(name, cores.load) for name in names))
        workers = [place.pid(name) for name in names[1:]]
        admin = httpx.AsyncClient(
            base_url=f"{plan.admin_url}/admin/v1",
            headers={"authorization": f"Bearer {plan.admin_key}"},
            trust_env=False,
            timeout=60,
        )
        async with admin:
            swapped = await _tenant(place, admin, http, "swapped", FREQUENT[:VERSIONS])
            other = await _tenant(place, admin, http, "other", FREQUENT[VERSIONS:][:1])
            async with watching(plan.gateway_url, swapped.headers, workers) as watch:
                return await _measure(options, admin, http, watch, swapped, other)


async def _tenant(
    place: Town, admin: httpx.AsyncClient, http: httpx.AsyncClient, name: str, tokens: Sequence[int]
) -> Tenant:
    """A tenant whose versions have all served once, so that what each of them says is known. tokens: what they say,
    each its own without end: rounding, and so what else the engine computes in a step, changes nothing about it."""
    made = (await admin.post("/tenants", json={"external_id": name})).json()
    key = (await admin.post(f"/tenants/{made['id']}/keys", json={})).json()["secret"]
    headers = {"authorization": f"Bearer {key}"}
    texts: dict[str, str] = {}
    for token in tokens:
        version = await place.approved(made["id"], token=token)
        await swap(admin, made["id"], version.id)
        alone = Seen()
        texts[version.label] = await stream(http, Tenant(made["id"], headers, {}, alone))
        if alone.failed:
            raise BenchError(f"{name} is not answered: {alone.example}")
    check_apart(texts)
    return Tenant(made["id"], headers, texts, Seen())


def check_apart(texts: Mapping[str, str]) -> None:
    """texts: by version. Raises BenchError when two are equal: a stream of one could not be told from one of both."""
    said: dict[str, str] = {}
    for version, text in texts.items():
        if text in said:
            raise BenchError(f"{said[text]} and {version} both say {text!r}: a mix of them would not show")
        said[text] = version


async def _measure(
    options: Options,
    admin: httpx.AsyncClient,
    http: httpx.AsyncClient,
    watch: Watch,
    swapped: Tenant,
    other: Tenant,
) -> Outcome:
    ended = asyncio.Event()
    clients = [
        asyncio.create_task(ask(http, tenant, ended)) for tenant in (swapped, other) for _ in range(STREAMS)
    ]
    await asyncio.sleep(WARM_UP_S)
    quiet = [await _quiet(options.seconds)]
    swaps = await _swaps(admin, watch, swapped)
    await asyncio.sleep(AFTER_S)
    quiet.append(await _quiet(options.seconds))
    ended.set()
    await asyncio.gather(*clients)
    around = [(swap.start - BEFORE_S, swap.start + AFTER_S) for swap in swaps]
    tables = {"timings of a swap, ms": timings([swap.document for swap in swaps])}
    notes = [f"wrong: {tenant.seen.example}" for tenant in (swapped, other) if tenant.seen.example]
    return Outcome(
        figures(swaps, within(other, around), within(other, quiet), swapped.seen, other.seen), notes, tables
    )


async def _quiet(seconds: float) -> tuple[float, float]:
    start = time.monotonic()
    await asyncio.sleep(seconds)
    return start, time.monotonic()


async def _swaps(admin: httpx.AsyncClient, watch: Watch, tenant: Tenant) -> list[Swap]:
    done = []
    for number in range(SWAPS):
        label = f"v{number % VERSIONS + 1}"
        seen = asyncio.create_task(watch.all_see(f"{DEFAULT_ADAPTER}@{label}"))
        start = time.monotonic()
        document = await swap(admin, tenant.id, label)
        took = time.monotonic() - start
        done.append(Swap(start, took, await seen - await _moved(admin, tenant.id, document), document))
        await asyncio.sleep(max(0.0, start + PACE_S - time.monotonic()))
    return done


async def _moved(admin: httpx.AsyncClient, tenant_id: str, document: Mapping[str, Any]) -> float:
    """When (monotonic seconds) the move of a swap was written, which is right before it was committed. Raises
    BenchError."""
    path = f"/tenants/{tenant_id}/adapters/{DEFAULT_ADAPTER}/aliases/stable/history"
    newest = (await admin.get(path, params={"limit": 1})).json()["data"][0]
    if newest["version_id"] != document["version_id"]:
        raise BenchError(f"the alias was moved to {newest['version']} by somebody else")
    return datetime.fromisoformat(newest["at"]).timestamp() - time.time() + time.monotonic()


async def swap(admin: httpx.AsyncClient, tenant_id: str, version: str) -> Mapping[str, Any]:
    """Raises BenchError. Control may be putting an approved version live by itself just then: 409, asked again."""
    path = f"/tenants/{tenant_id}/adapters/{DEFAULT_ADAPTER}/aliases/stable"
    for _ in range(20):
        response = await admin.put(path, json={"version": version})
        if response.status_code == 200:
            found: Mapping[str, Any] = response.json()
            return found
        if response.status_code != 409:
            break
        await asyncio.sleep(0.1)
    raise BenchError(f"the swap to {version} failed: {response.text[:300]}")


async def ask(http: httpx.AsyncClient, tenant: Tenant, ended: asyncio.Event) -> None:
    """Stream after stream until the end, each held against what its version says."""
    while not ended.is_set():
        await stream(http, tenant)


async def stream(http: httpx.AsyncClient, tenant: Tenant) -> str:
    """One answer; its gaps, and whether it failed or was mixed, go to the tenant's `seen`."""
    body = {
        "model": DEFAULT_ADAPTER,
        "messages": ASKED,
        "max_tokens": TOKENS,
        "temperature": 0,
        "stream": True,
        "ignore_eos": True,
    }
    seen, text, last, ended = tenant.seen, "", 0.0, False
    seen.streams += 1
    try:
        async with http.stream("POST", "/v1/chat/completions", json=body, headers=tenant.headers) as response:
            async for line in response.aiter_lines():
                ended = ended or line == "data: [DONE]"
                if not line.startswith("data: {"):
                    continue
                now = time.monotonic()
                document = json.loads(line[6:])
                if "error" in document:
                    seen.fail(line)
                    return text
                text += "".join(choice["delta"].get("content") or "" for choice in document["choices"])
                if last:
                    seen.gaps.append((now, now - last))
                last = now
    except httpx.HTTPError as error:
        seen.fail(f"{type(error).__name__}: {error}")
        return text
    if response.status_code != 200 or not ended:
        seen.fail(f"status {response.status_code}, {'whole' if ended else 'cut'}")
        return text
    label = response.headers.get("x-graft-version", "")
    if tenant.texts and tenant.texts.get(label) != text:
        seen.mixed += 1
        seen.example = seen.example or f"{label}: {text!r}, not {tenant.texts.get(label)!r}"
    return text


def within(tenant: Tenant, spans: Sequence[tuple[float, float]]) -> list[float]:
    """The gaps that ended inside one of the spans."""
    return [gap for at, gap in tenant.seen.gaps if any(start <= at < end for start, end in spans)]
