"""What control tells the workers of a moved alias beside its position in the change log.

A hint may be lost, come twice or come late: it lets a worker serve the move before it has read the record, which it
then does. Nobody outside can publish one, and it says nothing that is secret.
"""

from dataclasses import dataclass

import orjson
from pydantic import TypeAdapter, ValidationError

from adapters.types import Alias, AliasMove


@dataclass(frozen=True)
class Hint:
    """A move that is in the record."""

    change: int
    """Its position in the change log."""
    tenant_id: str
    adapter: str
    alias: Alias
    version_id: str | None
    """None: the base model alone."""

    @classmethod
    def of(cls, move: AliasMove) -> "Hint":
        return cls(move.change, move.tenant_id, move.adapter, move.alias, move.version_id)

    def encoded(self) -> bytes:
        return orjson.dumps(self)


_HINT = TypeAdapter(Hint)


def hint_in(data: bytes | str) -> Hint | None:
    """None for an event that is a position alone, or anything else."""
    try:
        return _HINT.validate_json(data)
    except ValidationError:
        return None
