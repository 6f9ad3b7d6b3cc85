"""Exporting: a version as one file that its tenant can take along, and that imports as the same artifact."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from adapters.archives import packed
from adapters.artifacts import ArtifactStore
from adapters.base import BaseModel
from adapters.types import Version


async def export(
    version: Version,
    base: BaseModel | None,
    gate: Mapping[str, Any] | None,
    store: ArtifactStore,
) -> Iterator[bytes]:
    """A `.tar.gz` in pieces, the same bytes every time, straight from the store, where the files were verified before.
    They are verified again as they pass: it breaks off with ArtifactCorrupt rather than end with other files.

    base: None where nobody knows more of the version's base model than its digest. gate: what the gate decided; None
    for a version that none has judged.
    Raises ArtifactMissing, ArtifactCorrupt.
    """
    artifact = await store.verified(version.artifact_digest)
    contents = await store.contents(artifact.digest)
    return packed(artifact.files, contents, lineage_of(version, base, gate))


def lineage_of(version: Version, base: BaseModel | None, gate: Mapping[str, Any] | None) -> bytes:
    """JSON that says where a version came from, without who worked on it."""
    lineage = version.lineage
    told = {
        "version": version.label,
        "version_id": version.id,
        "artifact_digest": version.artifact_digest,
        "base_model": base.id if base else None,
        "base_digest": lineage.base_digest,
        "dataset_digest": lineage.dataset_digest,
        "parent_id": lineage.parent_id,
        "run_id": lineage.run_id,
        "gate": gate,
        "source": lineage.source,
        "recipe": dict(lineage.recipe),
        "metrics": dict(version.metrics),
        "created_at": version.created_at.isoformat(),
    }
    return json.dumps(told, indent=2, sort_keys=True, default=str).encode() + b"\n"
