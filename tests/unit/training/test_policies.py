import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from training.policies import policy_of, read_policies, read_policy
from training.tables import learning_policies
from training.types import LearningPolicy, ScreeningPolicy


def test_an_empty_document_is_the_default_policy() -> None:
    assert policy_of({}) == LearningPolicy()


def test_what_no_run_could_use_of_a_stored_recipe_has_its_default() -> None:
    assert policy_of({"recipe": {"rank": 0, "max_steps": 20, "epochs": 3}}).recipe == {"max_steps": 20}


async def test_a_tenant_without_a_document_follows_the_default(database: AsyncEngine) -> None:
    assert await read_policy(database, "ten_1") == LearningPolicy()


async def test_a_tenants_document_is_read_by_tenant(database: AsyncEngine) -> None:
    document = {"triggers": {"count": 5}, "approval": "manual", "screening": {"pii": "allow"}}
    async with database.begin() as connection:
        await connection.execute(sa.insert(learning_policies).values(tenant_id="ten_1", document=document))
    policy = await read_policy(database, "ten_1")
    assert await read_policies(database) == {"ten_1": policy}
    assert (policy.triggers.count, policy.approval, policy.gate) == (5, "manual", LearningPolicy().gate)
    assert policy.screening == ScreeningPolicy(pii="allow")
