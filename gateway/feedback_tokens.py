"""Feedback-only tokens: `gf-<claims>.<signature>`, for one response, for a while, safe to hand to a browser.

A tenant's server has one made with its key and gives it to the page that shows the response. Whoever holds it can
say something about that response, as an untrusted author, and nothing else. Revoking the key ends its tokens.
"""

import base64
import hashlib
import hmac
from dataclasses import asdict, dataclass
from datetime import datetime

import orjson

from gateway.errors import Forbidden, Unauthenticated, Unavailable
from gateway.keys import Scope
from gateway.principal import Principal
from gateway.snapshot import Snapshot

PREFIX = "gf-"
_PURPOSE = b"graft feedback token 1"


@dataclass(frozen=True)
class Claims:
    """What a token says. `key`: public id of the key that it was made with; `expires`: seconds since 1970."""

    tenant: str
    key: str
    response: str
    user: str | None
    expires: int


class FeedbackTokens:
    """secret: shared by all workers, known to nobody else; without one, no token is made or accepted."""

    def __init__(self, secret: str) -> None:
        self._secret = hmac.digest(secret.encode(), _PURPOSE, hashlib.sha256) if secret else b""

    def mint(self, claims: Claims) -> str:
        """Raises Unavailable."""
        if not self._secret:
            raise Unavailable("Feedback tokens need GRAFT_INTERNAL_TOKEN.")
        body = _text(orjson.dumps(asdict(claims)))
        return f"{PREFIX}{body}.{self._signature(body)}"

    def principal(self, token: str, snapshot: Snapshot, now: datetime) -> tuple[Principal, Claims]:
        """Whom the token acts for, with the scopes of its key. Raises Unauthenticated, Forbidden."""
        claims = self._claims(token)
        key = snapshot.keys.get(claims.key)
        tenant = snapshot.tenants.get(claims.tenant)
        if key is None or tenant is None or key.tenant_id not in (None, tenant.id) or key.expired(now):
            raise Unauthenticated("The feedback token's key is gone.")
        if now.timestamp() >= claims.expires:
            raise Unauthenticated("The feedback token has expired.")
        if Scope.FEEDBACK not in key.scopes:
            raise Forbidden(f"This API key lacks the scope `{Scope.FEEDBACK}`.")
        return Principal(key, tenant), claims

    def _claims(self, token: str) -> Claims:
        body, _, signature = token.removeprefix(PREFIX).partition(".")
        if not self._secret or not hmac.compare_digest(self._signature(body).encode(), signature.encode()):
            raise Unauthenticated("Incorrect feedback token provided.")
        return Claims(**orjson.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))

    def _signature(self, body: str) -> str:
        return _text(hmac.digest(self._secret, body.encode(), hashlib.sha256))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
