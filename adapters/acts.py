"""What the audit log says of changes to the record."""

from adapters.audit import SYSTEM, Act
from adapters.types import AliasMove, Version


def of_version(version: Version, action: str, actor: str, **detail: object) -> Act:
    """action: without `version.`, which it begins with."""
    told = {"version": version.label, **detail}
    return Act(actor, f"version.{action}", version.id, version.tenant_id, told)


def registered(version: Version) -> Act:
    """An imported version names its source, a trained one its run as the actor."""
    lineage, digest = version.lineage, version.artifact_digest
    if lineage.source is None:
        return of_version(version, "registered", actor_of(lineage.run_id), artifact_digest=digest)
    actor = lineage.actor or SYSTEM
    return of_version(version, "imported", actor, source=lineage.source, artifact_digest=digest)


def actor_of(run_id: str | None) -> str:
    """A run as an actor."""
    return f"run:{run_id}" if run_id else SYSTEM


def moved(move: AliasMove, version: Version | None, rolled_back: bool) -> Act:
    """version: what the alias points to now; None is the base model. rolled_back: what it left was not good enough."""
    told = {
        "adapter": move.adapter,
        "alias": move.alias.value,
        "version": "base" if version is None else version.label,
        "from": move.previous_id,
        "to": move.version_id,
        "rolled_back": rolled_back,
    }
    return Act(move.actor, "alias.moved", move.version_id or "base", move.tenant_id, told)
