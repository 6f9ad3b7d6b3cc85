"""What the data plane does with the record: tenants, keys, feedback, documents. No engine is needed for it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
import pytest_asyncio
import sqlalchemy as sa

from adapters.types import Alias, Lineage, VersionStatus
from gateway.errors import Conflict, KeyReused
from gateway.idempotency import Writes, Written
from gateway.key_use import KeyUse
from gateway.keys import Scope
from gateway.policy import Policy
from tests.integration.gateway_house import BASE_DIGEST, Customer, House, house
from training.tables import interactions

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENGINE = "http://127.0.0.1:9"
QUESTION = "What does the Zorvia starter plan cost per month?"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def built(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """One house for all: every test brings tenants of its own."""
    async with house(tmp_path_factory.mktemp("house"), ENGINE, "internal") as made:
        yield made


async def test_a_new_key_works_once_its_change_is_applied(built: House) -> None:
    async with built.customer("acme") as acme:
        models = (await acme.client.get("/v1/models")).json()
    assert [(model["id"], model["version"]) for model in models["data"]] == [
        ("base", "base"),
        ("default", "base"),
    ]


async def test_a_revoked_key_stops_working(built: House) -> None:
    async with built.customer("acme") as acme:
        await built.applied(await built.tenants.revoke_key(acme.id, acme.key_id, "test"))
        response = await acme.client.get("/v1/models")
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_a_file_sent_twice_with_one_key_is_there_once(built: House) -> None:
    async with built.customer("acme") as acme, built.customer("globex") as globex:
        header = {"idempotency-key": "first"}
        made = [(await acme.upload("a.md", "Zorvia opens at nine.", header)).json() for _ in range(2)]
        theirs = await globex.upload("a.md", "Zorvia opens at nine.", header)
        others = [
            await acme.upload("a.md", "Zorvia opens at ten.", header),
            await acme.client.post("/v1/vector_stores", json={"name": "x"}, headers=header),
        ]
        mine = (await acme.client.get("/v1/files")).json()["data"]
    assert made[0] == made[1] and len(mine) == 1
    assert theirs.status_code < 300 and theirs.json()["id"] != made[0]["id"]
    for other in others:
        assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")
        assert other.headers["x-should-retry"] == "false"


async def test_a_write_that_failed_may_be_tried_again_with_its_key(built: House) -> None:
    writes, answers = Writes(built.record), [Written(503, "a/b", b""), Written(201, "a/b", b"x")]

    async def act() -> Written:
        with pytest.raises(Conflict):
            await writes.once("ten_1", "key", b"same", act)
        return answers.pop(0)

    found = [await writes.once("ten_1", "key", b"same", act) for _ in range(3)]
    assert [each.status for each in found] == [503, 201, 201]
    with pytest.raises(KeyReused):
        await writes.once("ten_1", "key", b"other", act)


async def test_the_record_says_when_a_key_was_last_used(built: House) -> None:
    async with built.customer("acme") as acme:
        (before,) = await built.tenants.keys_of(acme.id)
        await acme.client.get("/v1/models")
        uses = KeyUse(built.record)
        uses.note(acme.key_id, datetime(2099, 1, 2, tzinfo=UTC))
        await uses.write()
        uses.note(acme.key_id, datetime(2099, 1, 1, tzinfo=UTC))
        await uses.write()
        (after,) = await built.tenants.keys_of(acme.id)
    assert (before.last_used_at, after.last_used_at) == (None, datetime(2099, 1, 2, tzinfo=UTC))


async def test_a_moved_alias_is_served_by_every_worker(built: House) -> None:
    async with built.customer("acme") as acme, built.customer("globex") as globex:
        version = await built.registry.register(acme.id, "default", "sha256:a", Lineage(BASE_DIGEST), {})
        await built.registry.set_status(version.id, VersionStatus.APPROVED)
        move = await built.registry.move_alias(acme.id, "default", Alias.STABLE, version.id, "test")
        await built.applied(move.change)
        mine = (await acme.client.get("/v1/models/default")).json()
        theirs = (await globex.client.get("/v1/models/default")).json()
        pinned = await globex.client.get("/v1/models/default@v1")
    assert (mine["version"], theirs["version"], pinned.status_code) == ("default@v1", "base", 404)


async def test_a_change_is_applied_without_being_announced(built: House) -> None:
    async with built.customer("acme") as acme:
        _, change = await built.tenants.put_policy(acme.id, Policy(), "test")
        assert await built.workers.wait_for(change, 5.0) == 1


async def test_a_correction_is_in_memory_when_it_is_acknowledged(built: House) -> None:
    async with built.customer("acme") as acme:
        response = await acme.correct(QUESTION, "It costs 19 euros.")
        body = response.json()
        listed = (await acme.client.get("/v1/feedback")).json()
    assert (response.status_code, body["memory"], body["status"]) == (201, "active", "accepted")
    assert [entry["id"] for entry in listed["data"]] == [body["id"]]


async def test_a_withdrawn_correction_is_gone_from_memory(built: House) -> None:
    async with built.customer("acme") as acme:
        posted = (await acme.correct(QUESTION, "It costs 19 euros.")).json()
        deleted = await acme.client.delete(f"/v1/feedback/{posted['id']}")
        again = (await acme.client.get(f"/v1/feedback/{posted['id']}")).json()
    assert (deleted.status_code, deleted.json()["memory"]) == (200, "withdrawn")
    assert again["status"] == "withdrawn"


async def test_posting_twice_with_one_idempotency_key_is_one_correction(built: House) -> None:
    body = {"messages": [{"role": "user", "content": QUESTION}], "correction": "It costs 19 euros."}
    async with built.customer("acme") as acme:
        sent = [
            await acme.client.post("/v1/feedback", json=body, headers={"idempotency-key": "once"})
            for _ in range(2)
        ]
    assert [response.status_code for response in sent] == [201, 200]
    assert len({response.json()["id"] for response in sent}) == 1


async def test_an_idempotency_key_is_for_one_request(built: House) -> None:
    async with built.customer("acme") as acme:
        sent = [
            await acme.client.post(
                "/v1/feedback",
                json={"messages": [{"role": "user", "content": QUESTION}], "correction": answer},
                headers={"idempotency-key": "once"},
            )
            for answer in ("It costs 19 euros.", "It costs 20 euros.")
        ]
    assert [response.status_code for response in sent] == [201, 409]
    assert sent[1].json()["error"]["code"] == "idempotency_key_reused"


async def logged(built: House, customer: Customer, response_id: str) -> None:
    """A response of this tenant, as the learner writes it into the record."""
    row = {"id": response_id, "tenant_id": customer.id, "adapter": "default", "arm": "stable"}
    row |= {"messages": [{"role": "user", "content": QUESTION}], "response": "I do not know.", "usage": {}}
    row |= {"memory_ids": [], "passage_ids": ["p_1"], "latency_ms": 12.5, "status": 200}
    row |= {"at": datetime.now(UTC), "detail": {"scores": {"p_1": 0.5}, "timings_ms": {"engine": 9.0}}}
    async with built.record.begin() as connection:
        await connection.execute(sa.insert(interactions).values(**row))


async def test_a_browsers_token_speaks_of_one_response_only(built: House) -> None:
    async with built.customer("acme") as acme, built.customer("globex") as globex:
        for name in ("chatcmpl-token-1", "chatcmpl-token-2"):
            await logged(built, acme, name)
        body = {"response_id": "chatcmpl-token-1", "user": "ann"}
        minted = (await acme.client.post("/v1/feedback/tokens", json=body)).json()
        foreign = await globex.client.post("/v1/feedback/tokens", json=body)
        bearer = {"authorization": f"Bearer {minted['token']}", "origin": "https://shop.example"}
        async with httpx.AsyncClient(base_url=built.url, headers=bearer, trust_env=False) as browser:
            asked = await browser.options("/v1/feedback")
            posted = await browser.post("/v1/feedback", json={"rating": -1, "correction": "19 euros"})
            other = await browser.post("/v1/feedback", json={"rating": 1, "response_id": "chatcmpl-token-2"})
            made_up = {"messages": [{"role": "user", "content": "Hm?"}], "correction": "x"}
            spoken = await browser.post("/v1/feedback", json=made_up)
            seen = await browser.get("/v1/feedback")
            forged = {"authorization": bearer["authorization"][:-2] + "xx"}
            wrong = await browser.post("/v1/feedback", json={"rating": 1}, headers=forged)
        entry = (await acme.client.get(f"/v1/feedback/{posted.json()['id']}")).json()
    assert (foreign.status_code, asked.status_code, posted.status_code) == (404, 204, 201)
    assert (entry["response_id"], entry["user"], entry["rejected"]) == (
        "chatcmpl-token-1",
        "ann",
        "I do not know.",
    )
    assert [each.status_code for each in (other, spoken, seen, wrong)] == [403, 403, 401, 401]
    assert {each.headers["access-control-allow-origin"] for each in (asked, posted, other)} == {"*"}


async def test_a_revoked_keys_tokens_end_with_it(built: House) -> None:
    async with built.customer("acme") as acme:
        await logged(built, acme, "chatcmpl-revoked")
        made = await acme.client.post("/v1/feedback/tokens", json={"response_id": "chatcmpl-revoked"})
        await built.applied(await built.tenants.revoke_key(acme.id, acme.key_id, "test"))
        bearer = {"authorization": f"Bearer {made.json()['token']}"}
        refused = await acme.client.post("/v1/feedback", json={"rating": 1}, headers=bearer)
    assert refused.status_code == 401


async def test_an_answer_is_explained_to_its_own_tenant_only(built: House) -> None:
    async with built.customer("acme") as acme, built.customer("globex") as globex:
        await logged(built, acme, "chatcmpl-why")
        path = "/v1/responses/chatcmpl-why/explain"
        mine = (await acme.client.get(path)).json()
        theirs = await globex.client.get(path)
    assert theirs.status_code == 404
    assert (mine["version"]["label"], mine["passages"]) == ("base", [{"id": "p_1", "score": 0.5}])
    assert mine["timings_ms"] == {"total": 12.5, "engine": 9.0}


async def test_a_correction_that_looks_like_a_secret_waits_for_a_person(built: House) -> None:
    async with built.customer("acme") as acme:
        body = (await acme.correct(QUESTION, "Use password: hunter2hunter2")).json()
    assert (body["memory"], body["reasons"]) == ("quarantined", ["secret"])


async def test_one_tenants_feedback_is_nobody_elses(built: House) -> None:
    async with built.customer("acme") as acme, built.customer("globex") as globex:
        posted = (await acme.correct(QUESTION, "It costs 19 euros.")).json()
        path = f"/v1/feedback/{posted['id']}"
        seen = [await globex.client.get(path), await globex.client.delete(path)]
        listed = (await globex.client.get("/v1/feedback")).json()
        after = (await globex.client.get("/v1/feedback", params={"after": posted["id"]})).json()
    assert [response.status_code for response in seen] == [404, 404]
    assert (listed["data"], after["data"]) == ([], [])


async def test_one_tenants_documents_are_nobody_elses(built: House) -> None:
    async with built.customer("acme") as acme, built.customer("globex") as globex:
        file = (await acme.upload("handbook.md", "# Opening hours\n\nWe open at nine.")).json()
        paths = [f"/v1/files/{file['id']}", f"/v1/files/{file['id']}/content"]
        paths += [f"/v1/files/../../{acme.id}/files/{file['id']}", f"/v1/files/..%2f..%2f{acme.id}%2ffiles"]
        seen = [(await globex.client.get(path)).status_code for path in paths]
        listed = (await globex.client.get("/v1/files")).json()
        mine = (await acme.client.get("/v1/files")).json()
    assert file["object"] == "file"
    assert seen == [404] * len(paths)
    assert (listed["data"], [entry["id"] for entry in mine["data"]]) == ([], [file["id"]])


async def test_a_key_without_the_scope_is_refused(built: House) -> None:
    async with built.customer("acme", Scope.CHAT) as acme:
        refused = [await acme.correct(QUESTION, "x"), await acme.client.get("/v1/files")]
    assert [response.json()["error"]["code"] for response in refused] == ["permission_denied"] * 2


async def test_feedback_on_an_unknown_response_is_not_found(built: House) -> None:
    async with built.customer("acme") as acme:
        response = await acme.client.post("/v1/feedback", json={"response_id": "chatcmpl-x", "rating": 1})
    assert (response.status_code, response.json()["error"]["param"]) == (404, "response_id")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"rating": 2, "response_id": "x"}, "rating"),
        ({"rating": 1}, "response_id"),
        ({"correction": "x", "stars": 5}, "stars"),
        ({"messages": [{"role": "user", "content": "Hi?"}], "correction": " "}, "correction"),
        ({"messages": [{"role": "user", "content": "Hi?", "n": 2**64}], "correction": "x"}, None),
    ],
)
async def test_wrong_feedback_names_the_field(built: House, body: dict, param: str | None) -> None:
    async with built.customer("acme") as acme:
        response = await acme.client.post("/v1/feedback", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


async def test_embeddings_are_the_encoders(built: House) -> None:
    async with built.customer("acme") as acme:
        body = {"model": "minilm", "input": ["one", "two"], "encoding_format": "float"}
        answer = (await acme.client.post("/v1/embeddings", json=body)).json()
    assert [len(entry["embedding"]) for entry in answer["data"]] == [384, 384]
    assert answer["usage"] == {
        "prompt_tokens": 6,
        "total_tokens": 6,
    }  # a word between the two that frame a text


async def test_an_unreachable_engine_is_said_and_retryable(built: House) -> None:
    async with built.customer("acme") as acme:
        response = await acme.ask(QUESTION)
        ready = await acme.client.get("/readyz")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "engine_unavailable")
    assert response.headers["retry-after"] == "1"
    assert ready.json()["parts"] == {"engine": False, "retrieval": True, "redis": True}


async def test_unknown_paths_and_methods_answer_in_openais_shape(built: House) -> None:
    async with built.customer("acme") as acme:
        unknown = await acme.client.get("/v1/nothing")
        wrong = await acme.client.put("/v1/models", json={})
    assert set(unknown.json()["error"]) == set(wrong.json()["error"]) == {"message", "type", "param", "code"}
    assert (unknown.status_code, wrong.status_code) == (404, 405)


@pytest.mark.parametrize("path", ["chat/completions", "completions", "responses"])
async def test_what_generates_text_is_only_posted_to(built: House, path: str) -> None:
    async with built.customer("acme") as acme:
        answers = [await acme.client.request(method, f"/v1/{path}") for method in ("GET", "PUT", "OPTIONS")]
    assert {(answer.status_code, answer.headers["allow"]) for answer in answers} == {(405, "POST")}
