import dataclasses
from datetime import timedelta

import pytest

from gateway.errors import Forbidden, InvalidRequest, Unauthenticated
from gateway.keys import Scope
from gateway.principal import authenticate
from tests.unit.gateway.worlds import NOW, member, platform_key, snapshot, tenant

ACME = member(tenant("acme"))
GLOBEX = member(tenant("globex"))
BOTH = snapshot(ACME, GLOBEX)


def test_a_key_acts_for_its_own_tenant() -> None:
    assert authenticate(BOTH, ACME.bearer, None, NOW).tenant is ACME.view


def test_the_scheme_is_read_in_any_case() -> None:
    assert authenticate(BOTH, ACME.bearer.replace("Bearer", "bearer"), None, NOW).tenant is ACME.view


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer nonsense", "Basic abc", "Bearer gk-00-11"])
def test_no_valid_key_is_unauthenticated(header: str | None) -> None:
    with pytest.raises(Unauthenticated):
        authenticate(BOTH, header, None, NOW)


def test_a_public_id_with_another_secret_is_unauthenticated() -> None:
    forged = f"Bearer gk-{ACME.minted.public_id}-{GLOBEX.minted.secret.rsplit('-', 1)[1]}"
    with pytest.raises(Unauthenticated):
        authenticate(BOTH, forged, None, NOW)


def test_an_expired_key_is_unauthenticated() -> None:
    late = member(tenant("late"), expires_at=NOW - timedelta(seconds=1))
    with pytest.raises(Unauthenticated):
        authenticate(snapshot(late), late.bearer, None, NOW)


def test_a_key_of_a_tenant_that_is_gone_is_unauthenticated() -> None:
    orphan = dataclasses.replace(snapshot(ACME), tenants={})
    with pytest.raises(Unauthenticated):
        authenticate(orphan, ACME.bearer, None, NOW)


@pytest.mark.parametrize("name", ["ten_globex", "globex", "ten_nobody"])
def test_a_tenant_key_may_not_leave_its_tenant(name: str) -> None:
    with pytest.raises(Forbidden) as foreign:
        authenticate(BOTH, ACME.bearer, name, NOW)
    assert foreign.value.message == "This API key may not act for that tenant."


@pytest.mark.parametrize("name", ["ten_acme", "acme"])
def test_a_tenant_key_may_name_its_own_tenant(name: str) -> None:
    assert authenticate(BOTH, ACME.bearer, name, NOW).tenant is ACME.view


@pytest.mark.parametrize("name", ["ten_globex", "globex"])
def test_a_platform_key_acts_for_the_tenant_it_names(name: str) -> None:
    key, bearer = platform_key()
    assert authenticate(snapshot(ACME, GLOBEX, keys=(key,)), bearer, name, NOW).tenant is GLOBEX.view


def test_a_platform_key_must_name_a_tenant() -> None:
    key, bearer = platform_key()
    with pytest.raises(InvalidRequest):
        authenticate(snapshot(ACME, keys=(key,)), bearer, None, NOW)


def test_a_scope_that_the_key_lacks_is_forbidden() -> None:
    reader = member(tenant("reader"), scopes=frozenset({Scope.CHAT}))
    principal = authenticate(snapshot(reader), reader.bearer, None, NOW)
    with pytest.raises(Forbidden):
        principal.require(Scope.FEEDBACK)
