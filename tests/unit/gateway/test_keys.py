from datetime import timedelta

from gateway.keys import Key, Scope, matches, mint, public_id_of, scopes_from
from tests.unit.gateway.worlds import NOW


def test_a_minted_key_matches_its_own_digest() -> None:
    minted = mint()
    assert matches(minted.secret, minted.digest)


def test_another_key_does_not_match() -> None:
    assert not matches(mint().secret, mint().digest)


def test_the_public_id_is_read_from_the_key() -> None:
    minted = mint()
    assert public_id_of(minted.secret) == minted.public_id


def test_what_does_not_look_like_a_key_has_no_public_id() -> None:
    assert [public_id_of(text) for text in ("", "gk-", "gk-abc", "gk-abc-", "sk-abc-def", "gk--x")] == [
        None
    ] * 6


def test_a_key_expires_at_its_time() -> None:
    key = Key("key_1", "ten_1", "p", "d", frozenset(), expires_at=NOW)
    assert (key.expired(NOW - timedelta(seconds=1)), key.expired(NOW)) == (False, True)


def test_unknown_scopes_give_nothing() -> None:
    assert scopes_from(["chat", "root"]) == {Scope.CHAT}
