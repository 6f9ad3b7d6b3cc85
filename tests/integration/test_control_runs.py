"""Runs and reviews over the admin API."""

import asyncio
import base64
import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapters import audit
from adapters.types import VersionStatus
from gateway import webhooks
from gateway.loops import Loops
from gateway.tables import webhook_calls
from tests.integration.control_house import System
from tests.integration.gateway_house import listening
from tests.waiting import until
from training.drafts import FeedbackDraft
from training.runs import RunStore
from training.types import Feedback, Run, RunStatus


async def test_a_run_can_be_started_and_only_one_at_a_time(system: System) -> None:
    await system.tenant()
    run = await system.call("POST", "runs", {"tenant_id": "acme"}, 201)
    assert (run["status"], run["trigger"]) == ("queued", "manual")
    await system.call("POST", "runs", {"tenant_id": "acme"}, 409)


@pytest.mark.parametrize(
    ("body", "becomes"),
    [(None, VersionStatus.APPROVED), ({"hold": True}, VersionStatus.RETIRED)],
)
async def test_approving_a_run_approves_its_version(
    system: System, body: dict[str, bool] | None, becomes: VersionStatus
) -> None:
    tenant = await system.tenant()
    version = await system.version(tenant["id"], VersionStatus.GATING)
    run = await system.call("POST", "runs", {"tenant_id": "acme"}, 201)
    await system.control.runs.claim("learner")
    await system.control.runs.update(run["id"], "learner", version_id=version.id)
    await system.control.runs.finish(run["id"], "learner", RunStatus.AWAITING_APPROVAL)
    approved = await system.call("POST", f"runs/{run['id']}/approve", body)
    assert approved["status"] == "succeeded"
    assert (await system.control.registry.version(version.id)).status is becomes


async def test_of_two_who_judge_a_run_at_once_one_is_refused_and_the_version_is_the_others(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, runs = await system.tenant(), system.control.runs
    version = await system.version(tenant["id"], VersionStatus.GATING)
    run = await system.call("POST", "runs", {"tenant_id": "acme"}, 201)
    await runs.claim("learner")
    await runs.update(run["id"], "learner", version_id=version.id)
    await runs.finish(run["id"], "learner", RunStatus.AWAITING_APPROVAL)
    approve, reject = RunStore.approve, RunStore.reject
    rejecting, approved = asyncio.Event(), asyncio.Event()
    path, second = f"runs/{run['id']}", list[asyncio.Task[Any]]()

    async def approve_beside(self: RunStore, *of: Any, **how: Any) -> Run:
        second.append(asyncio.create_task(system.call("POST", f"{path}/reject", {}, 409)))
        await rejecting.wait()
        done = await approve(self, *of, **how)
        approved.set()
        return done

    async def reject_late(self: RunStore, *of: Any) -> Run:
        rejecting.set()
        await approved.wait()
        return await reject(self, *of)

    monkeypatch.setattr(RunStore, "approve", approve_beside)
    monkeypatch.setattr(RunStore, "reject", reject_late)
    assert (await system.call("POST", f"{path}/approve"))["status"] == "succeeded"
    await second[0]
    assert (await system.control.registry.version(version.id)).status is VersionStatus.APPROVED


async def test_a_run_whose_learner_was_killed_a_moment_ago_is_cancelled_for_all_to_see(
    system: System,
) -> None:
    await system.tenant()
    run = await system.call("POST", "runs", {"tenant_id": "acme"}, 201)
    await system.control.runs.claim("killed", lease_s=10)
    cancelled = await system.call("POST", f"runs/{run['id']}/cancel")
    seen = await system.call("GET", f"runs/{run['id']}")
    assert cancelled["status"] == seen["status"] == "cancelled"
    await system.call("POST", "runs", {"tenant_id": "acme"}, 201)


async def test_a_runs_story_streams_until_it_has_ended(system: System) -> None:
    await system.tenant()
    run = await system.call("POST", "runs", {"tenant_id": "acme"}, 201)
    await system.call("POST", f"runs/{run['id']}/cancel")
    headers = {"accept": "text/event-stream"}
    story = (await system.admin.get(f"/admin/v1/runs/{run['id']}/events", headers=headers)).text
    assert "event: event" in story
    assert '"status":"cancelled"' in story


async def corrected(system: System, *texts: str) -> list[Feedback]:
    """Of one question, by an author who is trusted; those that hold a password wait for a person."""
    draft = FeedbackDraft(
        tenant_id=(await system.tenant())["id"],
        adapter="default",
        messages=[{"role": "user", "content": "What is the warranty at Zorvia?"}],
        author="key_1",
        trusted=True,
    )
    return [
        (await system.control.feedback.record(replace(draft, correction=text))).feedback for text in texts
    ]


async def test_a_person_decides_what_waits_and_it_is_audited(system: System) -> None:
    waiting = await corrected(system, *(f"password: hunter2hunter2{n}" for n in range(3)))
    path = "tenants/acme/reviews"
    listed = await system.call("GET", path)
    edited = await system.call("POST", f"{path}/{waiting[0].id}/edit", {"correction": "2 years"})
    accepted = await system.call("POST", f"{path}/{waiting[1].id}/accept")
    await system.call("POST", f"{path}/{waiting[2].id}/reject")
    await system.call("POST", f"{path}/{waiting[2].id}/accept", status=409)
    assert [each["id"] for each in listed["data"]] == [entry.id for entry in waiting]
    assert (edited["status"], edited["replaces"]) == ("accepted", waiting[0].id)
    assert (accepted["status"], accepted["memory"]) == ("accepted", "pending")
    after = await system.control.feedback.get(waiting[0].tenant_id, edited["id"])
    assert after.status.value == "superseded"
    assert (await system.call("GET", path))["data"] == []
    told = [
        (each["action"], each["subject"], each["detail"]["result"])
        for each in (await system.call("GET", "audit"))["data"][:3]
    ]
    assert told == [
        ("review.rejected", waiting[2].id, waiting[2].id),
        ("review.accepted", waiting[1].id, waiting[1].id),
        ("review.edited", waiting[0].id, edited["id"]),
    ]


@pytest.mark.parametrize(
    ("decision", "body"), [("accept", None), ("reject", None), ("edit", {"correction": "2 years"})]
)
async def test_a_decision_that_is_not_audited_is_not_made(
    system: System, monkeypatch: pytest.MonkeyPatch, decision: str, body: dict[str, str] | None
) -> None:
    async def lost(*_: Any) -> None:
        raise RuntimeError("killed")

    (entry,) = await corrected(system, "password: hunter2hunter2")
    monkeypatch.setattr(audit, "record", lost)
    with pytest.raises(RuntimeError, match="killed"):
        await system.call("POST", f"tenants/acme/reviews/{entry.id}/{decision}", body)
    assert await system.control.feedback.list(entry.tenant_id) == [entry]


async def test_a_person_edits_in_the_queue_only_what_waits_there(system: System) -> None:
    entry, waits = await corrected(system, "2 years", "password: hunter2hunter2")
    paths = [f"tenants/acme/reviews/{each.id}/edit" for each in (entry, waits)]
    refused = await system.call("POST", paths[0], {"correction": "3 years"}, 409)
    assert refused["error"]["message"] == f"Feedback {entry.id!r} does not wait for a person."
    await system.call("POST", paths[1], {"correction": "3 years"})
    await system.call("POST", paths[1], {"correction": "3 years"}, 409)
    assert (await system.control.feedback.get(entry.tenant_id, entry.id)).status.value == "superseded"


async def test_a_merge_is_a_run_and_names_only_the_tenants_own_versions(system: System) -> None:
    acme, globex = await system.tenant("acme"), await system.tenant("globex")
    place = f"tenants/{acme['id']}/adapters/default/merges"
    one, two = [await system.version(acme["id"]) for _ in range(2)]
    foreign = await system.version(globex["id"])
    for sources in ([{"version": "v1"}], [{"version": "v1"}, {"version": "v1"}]):
        await system.call("POST", place, {"sources": sources}, 400)
    await system.call("POST", place, {"sources": [{"version": "v1"}, {"version": foreign.id}]}, 404)
    body = {"sources": [{"version": "v1"}, {"version": "v2", "weight": 2}], "method": "ties"}
    run = await system.call("POST", place, body, 201)
    assert run["recipe"]["merge"]["sources"] == [
        {"version_id": one.id, "weight": 1.0},
        {"version_id": two.id, "weight": 2.0},
    ]
    judged = await system.call("POST", place.replace("merges", "prune"), {"dry_run": True})
    assert {each["kept_for"] for each in judged["data"]} == {f"run {run['id']} needs it"}


async def test_a_version_that_fails_its_gate_is_told_to_the_webhook_until_it_listens(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "FIRST_WAIT_S", 0.1)
    got: list[tuple[Headers, bytes]] = []

    async def hook(request: Request) -> Response:
        got.append((request.headers, await request.body()))
        return Response(status_code=503 if len(got) == 1 else 204)

    async def answered() -> bool:
        async with system.control.sql.connect() as connection:
            calls = await connection.scalar(sa.select(sa.func.count()).select_from(webhook_calls))
        return len(got) > 1 and not calls

    await system.tenant()
    runs = system.control.runs
    async with listening(Starlette(routes=[Route("/graft", hook, methods=["POST"])])) as url:
        await system.call("PATCH", "tenants/acme/policy", {"rollout": {"webhook": f"{url}/graft"}})
        run = await system.call("POST", "runs", {"tenant_id": "acme"}, 201)
        await runs.claim("learner")
        await runs.finish(run["id"], "learner", RunStatus.REJECTED, "the gate failed")
        async with Loops(system.control).running():
            await until(answered)
    secret = (await system.call("GET", "tenants/acme/webhook-secret"))["secret"]
    key = base64.b64decode(secret.removeprefix("whsec_"))
    for headers, body in got:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        digest = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        assert headers["webhook-signature"] == f"v1,{digest}"
    assert len({(headers["webhook-id"], body) for headers, body in got}) == 1
    told = json.loads(got[0][1])
    assert (told["type"], told["data"]["run_id"], told["data"]["reason"]) == (
        "run.rejected",
        run["id"],
        "the gate failed",
    )
