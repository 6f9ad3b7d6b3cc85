"""Adapters of all tenants beside each other: for the operator alone."""

from typing import Annotated

from fastapi import APIRouter, Query

from adapters.drift import similarity
from gateway.errors import Conflict
from gateway.routes import admin_documents as documents
from gateway.routes.admin_access import Access
from gateway.routes.admin_documents import Document

router = APIRouter(tags=["fleet"])


@router.get("/similarities")
async def similarities(
    control: Access,
    version: Annotated[str, Query(min_length=1, max_length=200)],
    after: Annotated[str, Query(max_length=200)] = "",
    limit: Annotated[int, Query(ge=1, le=50)] = 20,
) -> Document:
    """The cosines between a version's changes of the weights (by its id) and those of other versions of its base model
    that an alias points to, whosever they are: a page of them by id, each of which is read from the store."""
    one = await control.registry.version(version)
    if one.pruned_at is not None:
        raise Conflict(f"The files of {one.label} were pruned.")
    base = control.bases.of(one.lineage.base_digest)
    others = await control.wants.live(base.digest, after, limit + 1)
    shown = []
    async with control.measurer.turn() as factors_of:
        mine = await factors_of(one, base)
        for other in others[:limit]:
            total = 1.0 if other.id == one.id else similarity(mine, await factors_of(other, base)).total
            shown.append(
                {"id": other.id, "tenant_id": other.tenant_id, "version": other.label, "total": total}
            )
    page = documents.page(shown, limit, lambda each: each)
    return {**page, "has_more": len(others) > limit}
