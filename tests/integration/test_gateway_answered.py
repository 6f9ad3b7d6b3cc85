"""What becomes of answers that were given: explained and corrected, over a real record, journal and memory. The engine
says next to nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from typer.testing import CliRunner

from adapters.types import Alias, Lineage, Version
from gateway.cli.main import app
from gateway.policy import Policy
from retrieval.client import RetrievalClient
from tests.integration.gateway_house import Customer, House, house
from tests.integration.rough_engine import rough_engine
from training.runs import RunStore
from training.types import Run, RunStatus

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUESTION = "What does the Zorvia starter plan cost per month?"
CASES = [{"prompt": QUESTION, "candidate": "19 euros", "production": "?"}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def built(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with (
        rough_engine() as engine,
        house(tmp_path_factory.mktemp("house"), engine.url, "internal") as made,
    ):
        yield made


async def made_by_a_run(built: House, tenant_id: str, alias: Alias) -> tuple[Version, Run]:
    """A version that has an alias, as a run leaves it in the record."""
    runs, registry = RunStore(built.record), built.registry
    run = await runs.create(tenant_id, "default", "manual", actor="key_1")
    assert await runs.claim("learner")
    lineage = Lineage(built.base_digest, dataset_digest="sha256:data", run_id=run.id)
    version = await registry.register(tenant_id, "default", "sha256:a", lineage, {})
    report = {"verdict": "pass", "production": None, "learned": [], "cases": CASES}
    await runs.update(run.id, "learner", version_id=version.id, report=report)
    await runs.finish(run.id, "learner", RunStatus.SUCCEEDED, approves=version.id)
    move = await registry.move_alias(tenant_id, "default", alias, version.id, "test")
    await built.applied(move.change)
    return version, await runs.get(run.id)


async def why(built: House, acme: Customer, response_id: str) -> Any:
    """As `graft why` tells it to the tenant."""
    key = acme.client.headers["authorization"].split()[1]
    arguments = ["--json", "--gateway-url", built.url, "why", response_id, "--key", key]
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert result.exit_code == 0, result.exception
    return json.loads(result.output)


@pytest.mark.parametrize(("model", "alias"), [("default", "stable"), ("default@candidate", "candidate")])
async def test_an_answer_tells_its_tenant_of_its_arm_its_memory_and_the_run_and_gate_behind_its_version(
    built: House, model: str, alias: str
) -> None:
    async with built.customer("acme") as acme, built.customer("globex") as globex:
        version, run = await made_by_a_run(built, acme.id, Alias(alias))
        posted = (await acme.correct(QUESTION, "It costs 19 euros.")).json()
        answer = await acme.ask(QUESTION, model=model)
        path = f"/v1/responses/{answer.json()['id']}/explain"
        found = (await acme.client.get(path)).json()
        theirs = await globex.client.get(path)
        told = await why(built, acme, answer.json()["id"])
    assert answer.headers["x-graft-memory"] == posted["id"]
    (memory,) = found["memory"]
    assert memory == {
        "id": posted["id"],
        "status": "accepted",
        "question": QUESTION,
        "correction": "It costs 19 euros.",
        "created_at": posted["created_at"],
        "author": acme.key_id,
        "score": pytest.approx(1, abs=0.01),
    }
    assert (found["arm"], found["version"]["label"], found["version"]["dataset"]) == (
        alias,
        version.label,
        "sha256:data",
    )
    assert found["version"]["run"] == {
        "id": run.id,
        "trigger": "manual",
        "status": "succeeded",
        "created_at": int(run.created_at.timestamp()),
        "gate": {"verdict": "pass", "production": None},
    }
    assert (told, theirs.status_code) == (found, 404)


async def corrected(acme: Customer, **said: Any) -> httpx.Response:
    return await acme.client.post("/v1/feedback", json=said)


@pytest.mark.parametrize(("logging", "rated"), [("off", 400), ("metadata", 201)])
async def test_where_no_text_is_logged_feedback_brings_the_conversation(
    built: House, logging: str, rated: int
) -> None:
    asked = [{"role": "user", "content": QUESTION}]
    async with built.customer("acme") as acme:
        policy = Policy.model_validate({"logging": logging})
        _, change = await built.tenants.put_policy(acme.id, policy, "test")
        await built.applied(change)
        about = {"response_id": (await acme.ask(QUESTION)).json()["id"]}
        refused = await corrected(acme, **about, correction="It costs 19 euros.")
        rating = await corrected(acme, **about, rating=-1)
        kept = await corrected(acme, **about, messages=asked, correction="It costs 19 euros.")
        again = await acme.ask(QUESTION)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "response_not_logged")
    assert rating.status_code == rated
    said = kept.json()
    assert (kept.status_code, said["memory"], said["messages"]) == (201, "active", asked)
    assert (said["response_id"], said["rejected"]) == (about["response_id"], None)
    assert again.headers["x-graft-memory"] == said["id"]


async def test_a_follow_up_that_leans_on_what_was_said_before_is_learned_from_and_not_remembered(
    built: House,
) -> None:
    turns = [(QUESTION, "user"), ("19 euros.", "assistant"), ("And in blue?", "user")]
    messages = [{"role": role, "content": content} for content, role in turns]
    async with built.customer("acme") as acme:
        answer = await acme.client.post(
            "/v1/chat/completions", json={"model": "default", "messages": messages}
        )
        posted = await corrected(acme, response_id=answer.json()["id"], correction="Blue costs 21 euros.")
        alone = await acme.ask("And in blue?")
    said = posted.json()
    assert (posted.status_code, said["status"], said["memory"]) == (201, "accepted", "not_used")
    assert said["messages"] == messages
    assert not alone.headers.get("x-graft-memory")


def calling(plan: str) -> dict[str, object]:
    """An answer that calls a tool."""
    function = {"name": "price_of", "arguments": f'{{"plan": "{plan}"}}'}
    return {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": function}]}


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("It costs 19 euros.", "It costs 21 euros.", "It costs 21 euros."),
        (
            calling("pro"),
            calling("starter"),
            '<tool_call>\n{"name":"price_of","arguments":{"plan":"starter"}}\n</tool_call>',
        ),
    ],
)
async def test_an_edited_correction_is_what_memory_answers_next(
    built: House, old: object, new: object, text: str
) -> None:
    async with built.customer("acme") as acme:
        body = {"messages": [{"role": "user", "content": QUESTION}], "correction": old}
        first = (await acme.client.post("/v1/feedback", json=body)).json()
        path = f"/v1/feedback/{first['id']}"
        edited = (await acme.client.patch(path, json={"correction": new})).json()
        before = (await acme.client.get(path)).json()
        async with RetrievalClient(built.settings.retrieval, "internal") as retrieval:
            found = await retrieval.search(acme.id, QUESTION, k=0, timeout_s=60)
    assert (edited["memory"], edited["replaces"], edited["correction"]) == ("active", first["id"], new)
    assert (first["memory"], first["correction"]) == ("active", old)
    assert (before["status"], before["correction"]) == ("superseded", old)
    assert [(hit.id, hit.answer) for hit in found.memory] == [(edited["id"], text)]
