from urllib.parse import urlsplit

import pytest

from adapters.uris import allowed, parse_uri, public


@pytest.mark.parametrize(
    "uri",
    [
        "https://models.example.com/a/adapter.tar.gz",
        "https://models.example.com:8443/a?signature=x%2Fy",
        "s3://bucket/a/b",
        "file:///srv/adapters/one",
        "hf://owner/repository",
    ],
)
def test_what_is_written_plainly_is_understood(uri: str) -> None:
    assert parse_uri(uri).geturl() == uri


@pytest.mark.parametrize(
    "uri",
    [
        "http://models.example.com/a",
        "ftp://models.example.com/a",
        "memory://a/b",
        "simplecache::https://models.example.com/a",
        "zip://a::https://models.example.com/a",
        "https://user:secret@models.example.com/a",
        "https://models.example.com@evil.example/a",
        "https://models.example.com\\@evil.example/a",
        "https:///a",
        "https://models.example.com",
        "https://models.example.com/a/../b",
        "https://models.example.com/a/%2e%2e/b",
        "https://models.example.com/a/..%2fb",
        "https://models.example.com/a#b",
        "https://models.example.com/a b",
        "https://models.example.com:99999/a",
        "https://modéls.example.com/a",
        "file://host/srv",
        "file:srv",
        "/srv/adapters",
        "",
    ],
)
def test_what_two_readers_could_understand_differently_is_refused(uri: str) -> None:
    with pytest.raises(ValueError):
        parse_uri(uri)


@pytest.mark.parametrize(
    ("uri", "inside"),
    [
        ("https://a.example/x/y", True),
        ("https://A.EXAMPLE/x/y", True),
        ("https://a.example/x", True),
        ("https://a.example/xy", False),
        ("https://a.example.evil/x/y", False),
        ("https://a.example:444/x/y", False),
        ("s3://a.example/x/y", False),
        ("file:///srv/adapters/one", True),
        ("file:///srv/adapters-of-others/one", False),
    ],
)
def test_a_place_allows_what_is_below_it(uri: str, inside: bool) -> None:
    assert allowed(urlsplit(uri), ["https://a.example/x/", "file:///srv/adapters"]) is inside


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "fe80::1",
        "fd00::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
    ],
)
def test_an_address_that_is_not_the_internets_is_not_public(address: str) -> None:
    assert not public(address)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::808:808"]
)
def test_the_internets_addresses_are_public(address: str) -> None:
    assert public(address)
