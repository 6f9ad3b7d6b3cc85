"""The learning part of each tenant's policy, as control wrote it."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from training.recipe import usable
from training.tables import learning_policies
from training.types import GatePolicy, LearningPolicy, ScreeningPolicy, TriggerPolicy


def policy_of(document: Mapping[str, Any]) -> LearningPolicy:
    """The policy in a stored document; what it leaves out has its default."""
    return LearningPolicy(
        triggers=TriggerPolicy(**document.get("triggers", {})),
        gate=GatePolicy(**document.get("gate", {})),
        approval=document.get("approval", LearningPolicy.approval),
        recipe=usable(document.get("recipe", {})),
        screening=ScreeningPolicy(**document.get("screening", {})),
    )


async def read_policy(engine: AsyncEngine, tenant_id: str) -> LearningPolicy:
    """One tenant's, as it is now."""
    query = sa.select(learning_policies.c.document).where(learning_policies.c.tenant_id == tenant_id)
    async with engine.connect() as connection:
        return policy_of(await connection.scalar(query) or {})


async def read_policies(engine: AsyncEngine) -> Mapping[str, LearningPolicy]:
    """Policies by tenant; a tenant that is missing follows the default."""
    async with engine.connect() as connection:
        rows = (await connection.execute(sa.select(learning_policies))).mappings().all()
    return {row["tenant_id"]: policy_of(row["document"]) for row in rows}
