import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from training.policies import policy_of, read_policies
from training.tables import learning_policies
from training.types import LearningPolicy


def test_an_empty_document_is_the_default_policy() -> None:
    assert policy_of({}) == LearningPolicy()


async def test_a_tenants_document_is_read_by_tenant(database: AsyncEngine) -> None:
    document = {"triggers": {"count": 5}, "approval": "manual"}
    async with database.begin() as connection:
        await connection.execute(sa.insert(learning_policies).values(tenant_id="ten_1", document=document))
    policy = (await read_policies(database))["ten_1"]
    assert (policy.triggers.count, policy.approval, policy.gate) == (5, "manual", LearningPolicy().gate)
