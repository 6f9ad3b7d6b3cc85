"""The learning part of each tenant's policy, as control wrote it."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from training.tables import learning_policies
from training.types import GatePolicy, LearningPolicy, TriggerPolicy


def policy_of(document: Mapping[str, Any]) -> LearningPolicy:
    """The policy in a stored document; what it leaves out has its default."""
    return LearningPolicy(
        triggers=TriggerPolicy(**document.get("triggers", {})),
        gate=GatePolicy(**document.get("gate", {})),
        approval=document.get("approval", LearningPolicy.approval),
        recipe=document.get("recipe", {}),
    )


async def read_policies(engine: AsyncEngine) -> Mapping[str, LearningPolicy]:
    """Policies by tenant; a tenant that is missing follows the default."""
    async with engine.connect() as connection:
        rows = (await connection.execute(sa.select(learning_policies))).mappings().all()
    return {row["tenant_id"]: policy_of(row["document"]) for row in rows}
