"""The operator's commands about answers and corrections, against the real admin API."""

import json
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from gateway.cli.output import Exit
from tests.integration.control_house import Graft, System, refused
from training.drafts import FeedbackDraft
from training.tables import interactions

SECRET = "Use password: hunter2hunter{}"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


async def corrected(system: System, tenant_id: str, number: int, answer: str = "{} euros.") -> str:
    draft = FeedbackDraft(
        tenant_id=tenant_id,
        adapter="default",
        messages=[{"role": "user", "content": f"What does plan {number} cost?"}],
        author="key_1",
        trusted=True,
        correction=answer.format(number),
    )
    return (await system.control.feedback.record(draft)).feedback.id


async def waiting(graft: Graft, tenant: str = "acme") -> list[str]:
    result = await graft("--json", "feedback", "review", "list", tenant)
    assert result.exit_code == 0, result.exception
    return [each["id"] for each in json.loads(result.output)]


async def test_what_waits_for_a_person_is_listed_oldest_first_with_the_reasons(
    system: System, graft: Graft
) -> None:
    acme, globex = await system.tenant("acme"), await system.tenant("globex")
    assert "Nothing waits" in (await graft("feedback", "review", "list", "acme")).output
    held = [await corrected(system, acme["id"], number, SECRET) for number in (1, 2)]
    await corrected(system, acme["id"], 3)
    theirs = await corrected(system, globex["id"], 4, SECRET)
    assert (await waiting(graft), await waiting(graft, "globex")) == (held, [theirs])
    listed = (await graft("feedback", "review", "list", "acme", "--limit", "1")).output
    assert all(each in listed for each in ('["secret"]', "What does plan 1", "hunter2hunter1"))
    assert "hunter2hunter2" not in listed


@pytest.mark.parametrize(
    ("decision", "more", "status", "correction"),
    [
        ("accept", [], "accepted", SECRET.format(1)),
        ("edit", ["--correction", "1 euro."], "accepted", "1 euro."),
        ("reject", [], "rejected", SECRET.format(1)),
    ],
)
async def test_a_person_decides_once_on_what_waits(
    system: System, graft: Graft, decision: str, more: list[str], status: str, correction: str
) -> None:
    acme = await system.tenant("acme")
    await system.tenant("globex")
    held = await corrected(system, acme["id"], 1, SECRET)
    foreign = await graft("feedback", "review", decision, "globex", held, *more)
    assert refused(foreign).code is Exit.NOT_FOUND and await waiting(graft) == [held]
    result = await graft("--json", "feedback", "review", decision, "acme", held, *more)
    assert result.exit_code == 0, result.exception
    decided = json.loads(result.output)
    assert (decided["status"], decided["correction"]) == (status, correction)
    assert (decided["id"] == held, decided["replaces"]) == (
        (False, held) if decision == "edit" else (True, None)
    )
    accepted = await system.control.feedback.accepted(acme["id"], "default")
    assert [each.id for each in accepted] == ([decided["id"]] if status == "accepted" else [])
    assert await waiting(graft) == []
    again = await graft("feedback", "review", decision, "acme", held, *more)
    assert refused(again).code is Exit.CONFLICT


async def answered(system: System, tenant_id: str, version_id: str | None) -> str:
    """A response, as the learner writes it into the record."""
    row = {
        "id": "chatcmpl-why",
        "tenant_id": tenant_id,
        "adapter": "default",
        "arm": "stable",
        "messages": [],
    }
    row |= {"response": "19 euros.", "memory_ids": [], "passage_ids": [], "usage": {}, "latency_ms": 12.5}
    row |= {"status": 200, "at": datetime.now(UTC), "version_id": version_id}
    async with system.control.sql.begin() as connection:
        await connection.execute(sa.insert(interactions).values(**row))
    return "chatcmpl-why"


async def test_the_operator_asks_why_with_nothing_but_the_responses_id(system: System, graft: Graft) -> None:
    acme, globex = await system.tenant("acme"), await system.tenant("globex")
    version = await system.version(acme["id"])
    learned = [await corrected(system, acme["id"], number) for number in range(1, 23)]
    foreign = await corrected(system, globex["id"], 99)
    await system.control.runs.add_learned(version.id, [*learned, foreign])
    response = await answered(system, acme["id"], version.id)
    result = await graft("--json", "why", response)
    assert result.exit_code == 0, result.exception
    found = json.loads(result.output)["version"]
    assert (found["label"], found["learned"]["count"]) == ("default@v1", 22)
    assert [each["id"] for each in found["learned"]["newest"]] == learned[:1:-1]
    assert found["learned"]["newest"][0]["question"] == "What does plan 22 cost?"
    for_people = await graft("why", response)
    assert "the newest 20 of 22" in for_people.output
    assert "What does plan 22 cost?" in for_people.output and "22 euros." in for_people.output


async def test_what_the_base_model_answered_has_learned_nothing(system: System, graft: Graft) -> None:
    tenant = await system.tenant()
    result = await graft("why", await answered(system, tenant["id"], None))
    assert result.exit_code == 0 and "Learned by the version" not in result.output


async def test_a_response_that_nobody_got_is_not_found(graft: Graft) -> None:
    assert refused(await graft("why", "chatcmpl-none")).code is Exit.NOT_FOUND
