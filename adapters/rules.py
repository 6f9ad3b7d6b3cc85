"""The rules of the record, pure: which status may follow which, and what a rollback goes back to."""

from collections.abc import Mapping, Sequence

from adapters.types import Version, VersionStatus

TRANSITIONS: Mapping[VersionStatus, frozenset[VersionStatus]] = {
    VersionStatus.REGISTERED: frozenset(
        {VersionStatus.GATING, VersionStatus.APPROVED, VersionStatus.REJECTED}
    ),
    VersionStatus.GATING: frozenset({VersionStatus.APPROVED, VersionStatus.REJECTED}),
    VersionStatus.APPROVED: frozenset(
        {VersionStatus.CANARY, VersionStatus.STABLE, VersionStatus.REJECTED, VersionStatus.RETIRED}
    ),
    VersionStatus.CANARY: frozenset(
        {VersionStatus.STABLE, VersionStatus.REJECTED, VersionStatus.RETIRED, VersionStatus.ROLLED_BACK}
    ),
    VersionStatus.STABLE: frozenset({VersionStatus.RETIRED, VersionStatus.ROLLED_BACK}),
    VersionStatus.RETIRED: frozenset({VersionStatus.STABLE, VersionStatus.PRUNED}),
    VersionStatus.ROLLED_BACK: frozenset({VersionStatus.STABLE, VersionStatus.PRUNED}),
    VersionStatus.REJECTED: frozenset({VersionStatus.PRUNED}),
    VersionStatus.PRUNED: frozenset(),
}
"""From a status to those that may follow. An imported version is approved by a person without a gate; a
version that was once stable may be so again."""

WANTED_STATUSES = frozenset({VersionStatus.GATING, VersionStatus.APPROVED, VersionStatus.CANARY})
"""Versions in these are kept in the engines although no alias may point to them yet."""
UNSERVABLE = frozenset({VersionStatus.REJECTED, VersionStatus.PRUNED})
PRUNABLE = frozenset(status for status, after in TRANSITIONS.items() if VersionStatus.PRUNED in after)


def stable_line(moved_to: Sequence[str | None]) -> list[str | None]:
    """The line of stable versions that leads to the current one, the base model first.

    A move to a version that is already on the line goes back to it and forgets what came after, so that two
    rollbacks in a row go two steps back, not back and forth.
    """
    line: list[str | None] = [None]
    for version_id in moved_to:
        if version_id in line:
            del line[line.index(version_id) + 1 :]
        else:
            line.append(version_id)
    return line


def superfluous(versions: Sequence[Version], line: Sequence[str | None], keep: int) -> list[Version]:
    """One adapter's versions that retention lets go: out of use, not among its `keep` newest, and further back than
    `keep` rollbacks. line: of stable versions, the current one last."""
    newest = {version.id for version in sorted(versions, key=lambda each: -each.number)[:keep]}
    kept = newest | set(line[-keep - 1 :])
    return [version for version in versions if version.status in PRUNABLE and version.id not in kept]
