"""What control tells the engines' plugin, wherever an engine runs: a version's digest, and an artifact's files."""

import hmac

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse

from adapters.errors import ArtifactError
from adapters.types import VersionStatus
from gateway.errors import NotFound, Unauthenticated
from gateway.routes.admin_access import Access
from gateway.routes.admin_documents import Document


async def require_engine(request: Request) -> None:
    """Raises Unauthenticated."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    wanted: str = request.app.state.engine_token
    if (
        scheme.lower() != "bearer"
        or not wanted
        or not hmac.compare_digest(given.strip().encode(), wanted.encode())
    ):
        raise Unauthenticated("Engines need GRAFT_ENGINE_TOKEN as a bearer token.")


router = APIRouter(prefix="/engine/v1", tags=["engines"], dependencies=[Depends(require_engine)])


@router.get("/versions/{version_id}")
async def version_digest(version_id: str, control: Access) -> Document:
    """404 for a version that was rejected, as for one that does not exist: no engine may serve it."""
    found = await control.registry.version(version_id)
    if found.status is VersionStatus.REJECTED:
        raise NotFound(f"Version {version_id} was rejected.")
    return {
        "id": found.id,
        "artifact_digest": found.artifact_digest,
        "base_digest": found.lineage.base_digest,
    }


@router.get("/artifacts/{digest}/{name}", response_class=StreamingResponse)
async def artifact_file(digest: str, name: str, control: Access) -> StreamingResponse:
    """One file as the store holds it; `manifest.json` names the others. Whoever fetches it verifies it."""
    try:
        pieces = await control.store.pieces(f"sha256:{digest}", name)
    except ArtifactError as error:
        raise NotFound(str(error)) from error
    return StreamingResponse(pieces, media_type="application/octet-stream")
