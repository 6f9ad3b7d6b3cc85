"""Exporting: a version as one file that its tenant can take along, and that imports as the same artifact."""

import json
from collections.abc import Iterator
from pathlib import Path

from adapters.archives import packed
from adapters.artifacts import ArtifactStore
from adapters.base import BaseModel
from adapters.types import Version


async def export(
    version: Version, base: BaseModel | None, store: ArtifactStore, cache_dir: Path
) -> Iterator[bytes]:
    """A `.tar.gz` in pieces, the same bytes every time; the files were verified before the first of them.

    base: None where nobody knows more of the version's base model than its digest.
    Raises ArtifactMissing, ArtifactCorrupt.
    """
    directory = await store.fetch(version.artifact_digest, cache_dir)
    artifact = await store.files(version.artifact_digest)
    return packed(directory, artifact.files, lineage_of(version, base))


def lineage_of(version: Version, base: BaseModel | None) -> bytes:
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
        "source": lineage.source,
        "recipe": dict(lineage.recipe),
        "metrics": dict(version.metrics),
        "created_at": version.created_at.isoformat(),
    }
    return json.dumps(told, indent=2, sort_keys=True, default=str).encode() + b"\n"
