"""A rollout on the request's path: whose request gets which version, and what the journal says of it."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from adapters.tasks import end
from adapters.types import RolloutKind, Split
from gateway.flaws import flaw_of
from gateway.policy import Policy
from gateway.protocol import Outcome
from gateway.routing import drawn, route, sticky_key
from gateway.snapshot import CurrentSnapshot, TenantView
from tests.unit.gateway.conftest import Bench
from tests.unit.gateway.worlds import Member, adapter, snapshot, tenant
from tests.waiting import until

ROUTES = adapter("ten_acme", stable="ver_1", v1="ver_1", v2="ver_2")


def split(share: float = 0.25, kind: RolloutKind = RolloutKind.CANARY, rollout_id: str = "rol_1") -> Split:
    return Split(rollout_id, f"{rollout_id}/0", kind, "ver_2", "ver_1", share, 100_000)


def acme(shared: Split) -> TenantView:
    return tenant("acme", replace(ROUTES, split=shared))


def arms(shared: Split, count: int = 4000) -> Counter[str]:
    view = acme(shared)
    return Counter(route(view, "default", sticky=f"session:{number}").arm for number in range(count))


def test_the_candidate_gets_its_share() -> None:
    assert arms(split(0.25))["candidate"] / 4000 == pytest.approx(0.25, abs=0.03)


def test_a_session_stays_in_its_arm_and_never_leaves_the_candidate_as_the_share_rises() -> None:
    before: set[int] = set()
    for share in (0.05, 0.25, 0.5, 1.0):
        view = acme(split(share))
        chosen = {n for n in range(500) if route(view, "default", sticky=f"session:{n}").arm == "candidate"}
        assert before <= chosen
        before = chosen
    assert len(before) == 500


def test_a_draw_is_the_same_in_every_worker_and_over_restarts() -> None:
    """The first 53 bits that `sha256sum` tells of the rollout and whose request it is."""
    assert drawn(split(), "session:s1") == (0x859ACF72AEAA2B68 >> 11) / 2**53


def test_two_rollouts_draw_differently() -> None:
    one, two = acme(split(0.5)), acme(split(0.5, rollout_id="rol_2"))
    same = sum(route(one, "default", sticky=str(n)).arm == route(two, "default", sticky=str(n)).arm
               for n in range(2000))  # fmt: skip
    assert same / 2000 == pytest.approx(0.5, abs=0.05)


def test_a_name_with_a_version_is_not_drawn() -> None:
    view = acme(split(1.0))
    assert route(view, "default@stable", sticky="session:1").version_id == "ver_1"
    assert route(view, "default@v1", sticky="session:1").version_id == "ver_1"
    assert route(acme(split(0.0)), "default@candidate", sticky="session:1").version_id == "ver_2"


def test_without_somebody_who_asks_the_name_stands_for_stable() -> None:
    assert route(acme(split(1.0)), "default").version_id == "ver_1"


def test_the_arms_of_an_ab_test_have_its_two_versions() -> None:
    view = acme(split(0.5, RolloutKind.AB))
    found = {(r.arm, r.version_id) for r in (route(view, "default", sticky=str(n)) for n in range(50))}
    assert found == {("a", "ver_1"), ("b", "ver_2")}


def test_a_candidate_that_was_rejected_meanwhile_answers_nobody() -> None:
    routes = adapter("ten_acme", stable="ver_1", v1="ver_1")
    view = tenant("acme", replace(routes, split=split(1.0)))
    assert route(view, "default", sticky="session:1").version_id == "ver_1"


def test_a_shadow_changes_nobodys_route() -> None:
    assert arms(split(1.0, RolloutKind.SHADOW), 50) == {"stable": 50}


@pytest.mark.parametrize(
    ("session", "user", "key"),
    [("s", "u", "session:s"), (None, "u", "user:u"), (None, 7, "request:t"), (None, None, "request:t")],
)
def test_a_request_belongs_to_a_session_or_else_a_user(session: str | None, user: object, key: str) -> None:
    assert sticky_key(session, user, "t") == key


@pytest.mark.parametrize(
    ("status", "text", "tokens", "flaw"),
    [
        (503, "", None, "error"),
        (400, "", None, None),
        (200, "", 1, "empty"),
        (200, "", 30, None),
        (200, "I do not know.", 5, "refusal"),
        (200, " I’m sorry, but no.", 5, "refusal"),
        (200, "30 days. I cannot say more.", 9, None),
    ],
)
def test_flaws_are_told_from_status_and_text(
    status: int, text: str, tokens: int | None, flaw: str | None
) -> None:
    usage = None if tokens is None else {"completion_tokens": tokens}
    assert flaw_of(status, Outcome(text, usage)) == flaw


def with_split(bench: Bench, shared: Split) -> None:
    put(bench, acme(shared))


def put(bench: Bench, view: TenantView) -> None:
    """The tenant's view, in place of acme's."""
    member = Member(view, replace(bench.acme.key, tenant_id=view.id), bench.acme.minted)
    bench.current.value = CurrentSnapshot(snapshot(member, bench.globex)).value


async def test_the_journal_knows_the_draw_and_the_answer_its_arm(bench: Bench) -> None:
    with_split(bench, split(1.0))
    first = await bench.chat(headers={"x-session-id": "s1"})
    await bench.chat(user="u1", headers={"x-session-id": "s1"})
    assert (first.headers["x-graft-arm"], bench.engine.asked[0]["model"]) == ("candidate", "ver_2")
    one, two = bench.journal.written
    assert (one.rollout, one.version_id) == ("rol_1/0", "ver_2")
    assert one.draw == two.draw is not None


async def test_an_engine_that_fails_is_in_the_journal(bench: Bench) -> None:
    with_split(bench, split(1.0))
    bench.engine.status = 500
    assert (await bench.chat()).status_code == 503
    assert [(each.flaw, each.rollout) for each in bench.journal.written] == [("error", "rol_1/0")]


async def test_a_shadow_answers_after_the_user_and_is_journaled_apart(bench: Bench) -> None:
    with_split(bench, split(1.0, RolloutKind.SHADOW))
    answer = await bench.chat(stream=True)
    assert answer.headers["x-graft-version"] == "default@v1"
    for _ in range(500):
        if len(bench.journal.written) == 2:
            break
        await asyncio.sleep(0.01)
    assert [asked["model"] for asked in bench.engine.asked] == ["ver_1", "ver_2"]
    assert "stream" not in bench.engine.asked[1]
    user, shadow = bench.journal.written
    assert (user.arm, shadow.arm, shadow.rollout) == ("stable", "shadow", "rol_1/0")
    assert shadow.detail is not None
    assert (shadow.detail["of"], shadow.detail["production"]) == (user.id, user.response)


async def shadowed(bench: Bench, requests: int) -> int:
    """How many of so many requests a shadow answered too."""
    before = len(bench.engine.asked)
    for _ in range(requests):
        assert (await bench.chat()).status_code == 200
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name() == "shadow"))
    return [asked["model"] for asked in bench.engine.asked[before:]].count("ver_2")


async def test_a_shadow_stops_at_its_budget(bench: Bench) -> None:
    with_split(bench, replace(split(1.0, RolloutKind.SHADOW), budget_tokens=1))
    assert await shadowed(bench, 3) == 1


async def test_a_shadows_budget_is_that_of_all_workers_and_of_those_before_them(bench: Bench) -> None:
    with_split(bench, split(1.0, RolloutKind.SHADOW))
    await bench.counts.add("rol_1", 0, 100_000)
    await bench.counts.add("rol_other", 0, -50)
    assert await shadowed(bench, 3) == 0
    assert await bench.counts.spent("rol_1") == 100_000


async def test_a_worker_that_ends_in_the_middle_of_a_shadow_leaves_its_budget_as_it_was(
    bench: Bench,
) -> None:
    with_split(bench, replace(split(1.0, RolloutKind.SHADOW), budget_tokens=1))
    bench.engine.hold = users = asyncio.Event()
    user = asyncio.create_task(bench.chat())
    await until(lambda: bench.engine.waiting == 1)
    bench.engine.hold = asyncio.Event()
    users.set()
    assert (await user).status_code == 200
    await until(lambda: bench.engine.waiting == 1)
    await end(*(task for task in asyncio.all_tasks() if task.get_name() == "shadow"))
    assert await bench.counts.spent("rol_1") == 0
    bench.engine.hold = None
    assert await shadowed(bench, 2) == 1


async def test_a_shadow_goes_on_when_redis_has_lost_its_count(bench: Bench) -> None:
    with_split(bench, replace(split(1.0, RolloutKind.SHADOW), budget_tokens=1))
    assert await shadowed(bench, 2) == 1
    await bench.counts.add("rol_1", 0, -await bench.counts.spent("rol_1"))
    assert await shadowed(bench, 2) == 1


async def test_what_a_shadow_took_is_counted_with_what_it_was_offered(bench: Bench) -> None:
    with_split(bench, split(1.0, RolloutKind.SHADOW))
    assert await shadowed(bench, 3) == 3
    tokens = sum(each.usage["total_tokens"] for each in bench.journal.written if each.arm == "shadow")
    assert (await bench.counts.offered("rol_1"), await bench.counts.spent("rol_1")) == (3, tokens)
    bench.engine.resident = {"ver_1"}
    await shadowed(bench, 1)
    assert (await bench.counts.offered("rol_1"), await bench.counts.spent("rol_1")) == (4, tokens)


async def test_without_redis_there_are_no_shadows(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with_split(bench, split(1.0, RolloutKind.SHADOW))
    with monkeypatch.context() as away:
        away.setattr(bench.counts, "_redis", Redis.from_url("unix:///nowhere/redis.sock"))
        assert await shadowed(bench, 2) == 0
    assert await shadowed(bench, 1) == 1
    assert await bench.counts.offered("rol_1") == 3


async def test_users_neither_wait_nor_pay_for_a_shadow_and_no_second_one_runs_beside_it(bench: Bench) -> None:
    rules = {"limits": {"requests_per_minute": 3, "concurrency": 1}}
    view = replace(acme(split(1.0, RolloutKind.SHADOW)), policy=Policy.model_validate(rules))
    put(bench, view)
    bench.engine.hold = users = asyncio.Event()
    first = asyncio.create_task(bench.chat())
    await until(lambda: bench.engine.waiting == 1)
    bench.engine.hold = shadows = asyncio.Event()
    users.set()
    assert (await first).status_code == 200
    await until(lambda: bench.engine.waiting == 1)
    bench.engine.hold = None
    assert [(await bench.chat()).status_code for _ in range(3)] == [200, 200, 429]
    assert [asked["model"] for asked in bench.engine.asked] == ["ver_1", "ver_2", "ver_1", "ver_1"]
    shadows.set()
    await until(lambda: [each.arm for each in bench.journal.written].count("shadow") == 1)


async def test_a_shadow_that_fails_is_nobodys_failure(bench: Bench) -> None:
    with_split(bench, split(1.0, RolloutKind.SHADOW))
    bench.engine.resident = {"ver_1"}
    assert (await bench.chat()).status_code == 200
    assert [each.arm for each in bench.journal.written] == ["stable"]
