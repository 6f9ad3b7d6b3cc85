"""Everything that the admin API changes is in the audit log, with who did it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.testing import FakeEngine
from adapters.types import VersionStatus
from tests.integration.control_house import System
from tests.integration.random_adapters import write_adapter
from tests.integration.transfer_house import tar
from training.drafts import FeedbackDraft
from training.types import RunStatus

ADAPTER = "tenants/{tenant}/adapters/{adapter}"
VERSION, ROLLOUT = ADAPTER + "/versions/{version}", ADAPTER + "/rollouts/{rollout_id}"
ADMIN = "/admin/v1/"


class Operator:
    """Does one thing after the other, and looks each time who is said to have done what."""

    def __init__(self, system: System, folder: Path) -> None:
        self.system, self.folder = system, folder
        self.done: set[tuple[str, str]] = set()
        self.named = {"tenant": "acme", "adapter": "default"}
        self._seen = 0

    async def does(self, method: str, path: str, says: str, body: Any = None, **named: str) -> dict[str, Any]:
        """says: the actions, in order. named: what the path's parts are from now on."""
        self.named |= named
        sent = {"content": body} if isinstance(body, bytes) else {"json": body}
        answer = await self.system.admin.request(method, ADMIN + path.format(**self.named), **sent)
        assert answer.is_success, answer.text
        newest = (await self.system.call("GET", "audit"))["data"]
        mine = [each for each in newest if each["id"] > self._seen and each["actor"] == "admin:admin"]
        assert [each["action"] for each in reversed(mine)] == says.split(), path
        self._seen = newest[0]["id"]
        self.done.add((method, ADMIN + path))
        return answer.json() if answer.headers["content-type"] == "application/json" else {}

    def adapter(self, seed: int) -> bytes:
        made = write_adapter(self.folder / str(seed), self.system.control.base, seed, rank=4)
        return tar({file.name: file.read_bytes() for file in made.iterdir()})


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
async def ada(system: System, tmp_path: Path) -> AsyncIterator[Operator]:
    """Has done everything that the API can do, once at least."""
    operator = Operator(system, tmp_path / "adapters")
    await _tenants(operator)
    await _versions(operator)
    await _rollouts(operator)
    await _runs(operator)
    await _reviews(operator)
    await _replicas(operator)
    await operator.does("POST", ADAPTER + "/prune", " ".join(["version.pruned"] * 3), {})
    yield operator


async def _tenants(ada: Operator) -> None:
    await ada.does("POST", "tenants", "tenant.created adapter.created", {"external_id": "acme"})
    for keys in ("tenants/{tenant}/keys", "keys"):
        key = await ada.does("POST", keys, "key.created", {})
        key = await ada.does("POST", keys + "/{key_id}/rotate", "key.created", {}, key_id=key["id"])
        await ada.does("DELETE", keys + "/{key_id}", "key.revoked", key_id=key["id"])
    policy = {"rollout": {"steps": [5, 50, 100]}, "retention": {"versions": 1, "days": 0}}
    await ada.does("PUT", "tenants/{tenant}/policy", "policy.changed", policy)
    await ada.does("PATCH", "tenants/{tenant}/policy", "policy.changed", {"logging": "off"})
    await ada.does("POST", "tenants/{tenant}/adapters", "adapter.created", {"name": "support"})


async def _versions(ada: Operator) -> None:
    alias = ADAPTER + "/aliases/stable"
    for seed in (1, 2):
        await ada.does("POST", ADAPTER + "/versions", "version.imported", ada.adapter(seed))
    await ada.does("GET", VERSION + "/artifact", "version.exported", version="v1")
    held = {"hold": True}
    await ada.does("POST", VERSION + "/approve", "version.approved version.retired", held, version="v1")
    await ada.does("POST", VERSION + "/reject", "version.rejected", {}, version="v2")
    await ada.does("PUT", alias, "alias.moved", {"version": "v1"})
    await ada.does("POST", ADAPTER + "/rollback", "alias.moved")
    await ada.does("PUT", VERSION + "/pin", "version.pinned", {}, version="v1")
    await ada.does("DELETE", VERSION + "/pin", "version.unpinned")


async def _rollouts(ada: Operator) -> None:
    await ada.does("POST", ADAPTER + "/versions", "version.imported", ada.adapter(3))
    await ada.does("POST", VERSION + "/approve", "version.approved", {}, version="v3")
    one = await ada.does("POST", ADAPTER + "/rollouts", "rollout.started", {"version": "v3"})
    await ada.does("POST", ROLLOUT + "/pause", "rollout.paused", {}, rollout_id=one["id"])
    await ada.does("POST", ROLLOUT + "/resume", "rollout.resumed")
    await ada.does("POST", ROLLOUT + "/promote", "alias.moved rollout.promoted", {})
    await ada.does("POST", ROLLOUT + "/abort", "alias.moved rollout.aborted", {})


async def _runs(ada: Operator) -> None:
    runs, new = ada.system.control.runs, {"tenant_id": "acme"}
    run = await ada.does("POST", "runs", "run.created", new)
    await ada.does("POST", "runs/{run_id}/cancel", "run.cancelled", run_id=run["id"])
    for verb, says in (("approve", "approved"), ("reject", "rejected")):
        run = await ada.does("POST", "runs", "run.created", new)
        await runs.claim("learner")
        version = await ada.system.version(run["tenant_id"], VersionStatus.GATING, run_id=run["id"])
        await runs.update(run["id"], "learner", version_id=version.id)
        await runs.finish(run["id"], "learner", RunStatus.AWAITING_APPROVAL)
        await ada.does("POST", f"runs/{{run_id}}/{verb}", f"version.{says} run.{says}", {}, run_id=run["id"])
    merge = {"sources": [{"version": "v1"}, {"version": "v3"}]}
    run = await ada.does("POST", ADAPTER + "/merges", "run.created", merge)
    await ada.does("POST", "runs/{run_id}/cancel", "run.cancelled", run_id=run["id"])


async def _replicas(ada: Operator) -> None:
    """Of two, so that the other one could take its requests."""
    system = ada.system
    other = FakeEngine("fake://other", base_digest=system.engine.base_digest)
    system.app.state.control = replace(system.control, engines=(system.engine, other))
    await ada.does("POST", "replicas/drain", "replica.drained", {"id": other.url})
    await ada.does("POST", "replicas/return", "replica.returned", {"id": other.url})
    system.app.state.control = system.control


async def _reviews(ada: Operator) -> None:
    tenant = await ada.system.call("GET", "tenants/acme")
    for verb, says in (("accept", "accepted"), ("reject", "rejected"), ("edit", "edited")):
        draft = FeedbackDraft(
            tenant_id=tenant["id"],
            adapter="default",
            messages=[{"role": "user", "content": f"What must I {verb}?"}],
            author="key_1",
            trusted=True,
            correction=f"password: hunter2hunter2{verb}",
        )
        waits = (await ada.system.control.feedback.record(draft)).feedback
        body = {"correction": "Nothing."} if verb == "edit" else None
        path = f"tenants/{{tenant}}/reviews/{{feedback_id}}/{verb}"
        await ada.does("POST", path, f"review.{says}", body, feedback_id=waits.id)


async def test_every_change_by_the_admin_api_is_audited_with_who_made_it(ada: Operator) -> None:
    document = (await ada.system.admin.get("/openapi.json")).json()
    changing = {
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method in methods
        if method != "get"
    }
    assert changing <= ada.done
