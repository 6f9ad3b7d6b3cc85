"""What is kept of a response: fetched, listed, deleted, forgotten, and who may have it."""

import pytest

from tests.unit.gateway.conftest import Bench

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Hello?"}


async def test_a_stored_response_is_fetched_as_it_was_answered(bench: Bench) -> None:
    answered = (await bench.respond()).json()
    found = await bench.fetch(answered["id"])
    assert (found.status_code, found.json()) == (200, answered)


async def test_a_deleted_response_is_gone(bench: Bench) -> None:
    answered = (await bench.respond()).json()
    path, headers = f"/v1/responses/{answered['id']}", {"authorization": bench.acme.bearer}
    first, second = [await bench.client.delete(path, headers=headers) for _ in range(2)]
    assert first.json() == {"id": answered["id"], "object": "response", "deleted": True}
    assert second.status_code == (await bench.fetch(answered["id"])).status_code == 404


async def test_one_tenants_response_is_unknown_to_another(bench: Bench) -> None:
    answered = (await bench.respond()).json()
    deleted = await bench.client.delete(
        f"/v1/responses/{answered['id']}", headers={"authorization": bench.globex.bearer}
    )
    resumed = await bench.respond(bench.globex, previous_response_id=answered["id"])
    unknown = await bench.respond(bench.globex, previous_response_id="resp_nobodys")
    statuses = [(await bench.fetch(answered["id"], bench.globex)).status_code, deleted.status_code]
    assert [*statuses, resumed.status_code, unknown.status_code] == [404] * 4
    ours, theirs = (each.json()["error"] for each in (resumed, unknown))
    assert ours["message"].replace(answered["id"], "x") == theirs["message"].replace("resp_nobodys", "x")
    assert ours["param"] == "previous_response_id"
    assert (await bench.fetch(answered["id"])).status_code == 200
    assert len(bench.engine.asked) == 1


@pytest.mark.parametrize(
    ("policy", "store", "kept"),
    [
        ({}, None, True),
        ({}, False, False),
        ({"logging": "metadata"}, None, False),
        ({"logging": "off"}, True, True),
        ({"responses": {"retention_days": 0}}, True, False),
    ],
)
async def test_what_is_kept_is_the_clients_and_the_tenants_choice(
    bench: Bench, policy: dict, store: bool | None, kept: bool
) -> None:
    bench.set_policy(policy)
    answered = (await bench.respond(**({} if store is None else {"store": store}))).json()
    assert answered["store"] is kept
    assert (await bench.fetch(answered["id"])).status_code == (200 if kept else 404)


async def test_an_expired_response_is_unknown_and_pruned(bench: Bench) -> None:
    kept = (await bench.respond()).json()
    bench.set_policy({"responses": {"retention_days": 1e-9}})
    expired = (await bench.respond()).json()
    assert (await bench.fetch(expired["id"])).status_code == 404
    assert (await bench.responses.prune(), await bench.responses.prune()) == (1, 0)
    assert (await bench.fetch(kept["id"])).status_code == 200


async def test_the_input_of_a_response_is_listed_in_pages(bench: Bench) -> None:
    first = (await bench.respond(input=[SYSTEM, USER])).json()
    second = (await bench.respond(input="Why?", previous_response_id=first["id"])).json()
    path = f"{second['id']}/input_items"
    newest = (await bench.fetch(f"{path}?limit=3")).json()
    rest = (await bench.fetch(f"{path}?after={newest['last_id']}")).json()
    said = [item["content"][0]["text"] for item in [*newest["data"], *rest["data"]]]
    assert said == ["Why?", "Hello there", "Hello?", "Be brief."]
    assert (newest["has_more"], rest["has_more"]) == (True, False)
    between = f"{path}?after={newest['first_id']}&before={newest['last_id']}"
    assert (await bench.fetch(between)).json()["data"] == newest["data"][1:2]
    for bound in ("after", "before"):
        unknown = await bench.fetch(f"{path}?{bound}=msg_0")
        assert (unknown.status_code, unknown.json()["error"]["param"]) == (404, bound)
    oldest = (await bench.fetch(f"{path}?order=asc&limit=1")).json()["data"]
    assert oldest == rest["data"]
    assert (await bench.fetch(path, bench.globex)).status_code == 404


async def test_a_response_that_has_ended_cannot_be_cancelled(bench: Bench) -> None:
    made = (await bench.respond()).json()
    answers = [
        await bench.client.post(f"/v1/responses/{made['id']}/cancel", headers={"authorization": who.bearer})
        for who in (bench.acme, bench.globex)
    ]
    assert [answer.status_code for answer in answers] == [400, 404]
