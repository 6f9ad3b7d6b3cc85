"""API keys: `gk-<public id>-<secret>`. The public id finds the record, the whole key's SHA-256 proves it.

The secret has 192 random bits, so one unsalted SHA-256 is enough: there is nothing to guess. It costs a
microsecond, less than a cache of verified keys would.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gateway.policy import NO_CAPS, Caps

PREFIX = "gk-"


class Scope(StrEnum):
    """What a key may do."""

    CHAT = "chat"
    FEEDBACK = "feedback"
    """Post ratings and corrections."""
    CORRECT = "correct"
    """Corrections are trusted: they supersede what others said, instead of waiting for a person."""
    KNOWLEDGE = "knowledge"
    """Read and write files and vector stores."""


ALL_SCOPES: frozenset[Scope] = frozenset(Scope)


@dataclass(frozen=True)
class Key:
    """What the data plane knows of a key. `tenant_id` None: a platform key, which may act for any tenant."""

    id: str
    tenant_id: str | None
    public_id: str
    digest: str
    scopes: frozenset[Scope]
    expires_at: datetime | None = None
    limits: Caps = NO_CAPS
    """Of this key alone, within its tenant's."""

    def expired(self, now: datetime) -> bool:
        return self.expires_at is not None and now >= self.expires_at


@dataclass(frozen=True)
class Minted:
    """A new key. `secret` is shown once and stored nowhere."""

    secret: str
    public_id: str
    digest: str


def mint() -> Minted:
    public_id = secrets.token_hex(8)
    secret = f"{PREFIX}{public_id}-{secrets.token_hex(24)}"
    return Minted(secret, public_id, digest_of(secret))


def digest_of(secret: str) -> str:
    """Hex SHA-256 of the whole key."""
    return hashlib.sha256(secret.encode()).hexdigest()


def public_id_of(secret: str) -> str | None:
    """The part of a key that finds its record; None when it does not look like a key."""
    if not secret.startswith(PREFIX):
        return None
    public_id, dash, rest = secret[len(PREFIX) :].partition("-")
    return public_id if dash and public_id and rest else None


def matches(secret: str, digest: str) -> bool:
    """In constant time."""
    return hmac.compare_digest(digest_of(secret), digest)


def scopes_from(names: Iterable[str]) -> frozenset[Scope]:
    """Names that this release does not know are dropped: a key never gains what nobody checks."""
    known = {scope.value: scope for scope in Scope}
    return frozenset(known[name] for name in names if name in known)
