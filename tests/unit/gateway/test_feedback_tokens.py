from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.errors import Forbidden, GatewayError, Unauthenticated, Unavailable
from gateway.feedback_tokens import Claims, FeedbackTokens
from gateway.keys import Scope
from tests.unit.gateway.worlds import NOW, member, snapshot, tenant

ACME = member(tenant("acme"))
TOKENS = FeedbackTokens("internal")
CLAIMS = Claims("ten_acme", ACME.key.public_id, "chatcmpl-1", "ann", int(NOW.timestamp()) + 60)


def test_a_token_speaks_for_its_keys_tenant_until_it_expires() -> None:
    token = TOKENS.mint(CLAIMS)
    principal, claims = TOKENS.principal(token, snapshot(ACME), NOW + timedelta(seconds=59.9))
    assert (principal.tenant, claims) == (ACME.view, CLAIMS)
    with pytest.raises(Unauthenticated, match="expired"):
        TOKENS.principal(token, snapshot(ACME), NOW + timedelta(seconds=60))


def test_an_expiry_cannot_be_put_off_by_its_holder() -> None:
    late = TOKENS.mint(replace(CLAIMS, expires=CLAIMS.expires + 3600))
    longer = f"{late.partition('.')[0]}.{TOKENS.mint(CLAIMS).partition('.')[2]}"
    with pytest.raises(Unauthenticated, match="Incorrect"):
        TOKENS.principal(longer, snapshot(ACME), NOW)


def test_a_token_ends_with_its_key() -> None:
    ending = member(tenant("acme"), expires_at=NOW + timedelta(seconds=10))
    token = TOKENS.mint(replace(CLAIMS, key=ending.key.public_id))
    assert TOKENS.principal(token, snapshot(ending), NOW)
    with pytest.raises(Unauthenticated, match="key is gone"):
        TOKENS.principal(token, snapshot(ending), NOW + timedelta(seconds=10))


@pytest.mark.parametrize(
    ("tokens", "claims", "error"),
    [
        (FeedbackTokens("another"), CLAIMS, Unauthenticated),
        (TOKENS, replace(CLAIMS, tenant="ten_globex"), Unauthenticated),
        (TOKENS, replace(CLAIMS, key="unknown"), Unauthenticated),
    ],
)
def test_a_token_of_another_secret_tenant_or_key_is_refused(
    tokens: FeedbackTokens, claims: Claims, error: type[GatewayError]
) -> None:
    there = snapshot(ACME, member(tenant("globex")))
    with pytest.raises(error):
        TOKENS.principal(tokens.mint(claims), there, NOW)


def test_a_token_of_a_key_that_lost_its_scope_is_refused() -> None:
    chatting = member(tenant("acme"), frozenset({Scope.CHAT}))
    with pytest.raises(Forbidden):
        TOKENS.principal(TOKENS.mint(replace(CLAIMS, key=chatting.key.public_id)), snapshot(chatting), NOW)


def test_without_a_secret_no_token_is_made_or_accepted() -> None:
    with pytest.raises(Unavailable):
        FeedbackTokens("").mint(CLAIMS)
    with pytest.raises(Unauthenticated):
        FeedbackTokens("").principal(TOKENS.mint(CLAIMS), snapshot(ACME), NOW)
