"""Adapters over `https`: the admin API, control's own client, and a server with a certificate."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.integration.tls_source import (
    DAY,
    Answer,
    Authority,
    Names,
    TlsServer,
    drips,
    endless,
    hangs,
    moved,
    sends,
    tls_server,
)
from tests.integration.transfer_house import House, housed, tar

NAME = "models.test"
HERE = "127.0.0.1"
Located = Callable[..., AbstractAsyncContextManager[tuple[House, TlsServer, Names]]]


@pytest.fixture
def located(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Located:
    """Control that may import from a server of ours, whose authority it trusts."""
    authority = Authority(tmp_path / "authority")

    @asynccontextmanager
    async def made(
        answers: dict[str, Answer],
        *,
        by: Authority = authority,
        name: str = NAME,
        lasts: timedelta = DAY,
        trusted: bool = True,
        addresses: tuple[tuple[str, ...], ...] = ((HERE,),),
        **told: Any,
    ) -> AsyncIterator[tuple[House, TlsServer, Names]]:
        names = Names(NAME, addresses, socket.getaddrinfo)
        monkeypatch.setattr(socket, "getaddrinfo", names)
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        with tls_server(by.certified(name, lasts), answers) as server:
            place = f"https://{NAME}:{server.server_port}/adapters/"
            usual = {"import_sources": place, "import_private_hosts": True}
            async with housed(tmp_path, redis_url, **usual | told) as home:
                yield home, server, names

    return made


async def imported(home: House, server: TlsServer, status: int, path: str = "/adapters/one.tar.gz") -> Any:
    body = {"uri": f"https://{NAME}:{server.server_port}{path}"}
    answer = await home.call("POST", "/versions", status, json=body)
    if status >= 400:
        assert home.left() == []
        assert (await home.call("GET", "/versions"))["data"] == []
    return answer


async def test_an_archive_is_imported_and_its_signature_is_not_recorded(located: Located) -> None:
    answers: dict[str, Answer] = {}
    async with located(answers) as (home, server, _):
        answers["/adapters/one.tar.gz"] = sends(tar(home.files()))
        version = await imported(home, server, 201, "/adapters/one.tar.gz?signature=secret")
        host = f"{NAME}:{server.server_port}"
        assert version["lineage"]["source"] == f"https://{host}/adapters/one.tar.gz"
        assert server.asked == [(host, "/adapters/one.tar.gz")]
        assert await home.control.store.exists(version["artifact_digest"])


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"by": Authority}, "unable to get local issuer"),
        ({"trusted": False}, "unable to get local issuer"),
        ({"name": "other.test"}, "Hostname mismatch"),
        ({"lasts": -DAY}, "expired"),
    ],
    ids=["of a stranger", "of an authority that is not named", "of another name", "expired"],
)
async def test_a_certificate_that_is_not_trusted_is_refused_and_nothing_is_asked(
    located: Located, tmp_path: Path, how: dict[str, Any], why: str
) -> None:
    if "by" in how:
        how = {"by": Authority(tmp_path / "stranger")}
    async with located({}, **how) as (home, server, _):
        error = (await imported(home, server, 400))["error"]
        assert (error["param"], server.asked) == ("uri", [])
        assert "certificate is not trusted" in error["message"] and why in error["message"]


async def test_a_redirect_below_an_allowed_place_is_followed(located: Located) -> None:
    answers: dict[str, Answer] = {"/adapters/one.tar.gz": moved("two.tar.gz")}
    async with located(answers) as (home, server, names):
        answers["/adapters/two.tar.gz"] = sends(tar(home.files()))
        await imported(home, server, 201)
        assert [path for _, path in server.asked] == ["/adapters/one.tar.gz", "/adapters/two.tar.gz"]
        assert names.lookups == 2


async def test_a_redirect_off_the_allowed_places_is_refused_and_not_followed(
    located: Located, tmp_path: Path
) -> None:
    elsewhere = Authority(tmp_path / "elsewhere").certified(NAME)
    with tls_server(elsewhere, {}) as other:
        away = moved(f"https://{NAME}:{other.server_port}/adapters/one.tar.gz")
        answers = {"/adapters/one.tar.gz": away, "/adapters/two": moved("/private/two")}
        async with located(answers) as (home, server, _):
            for path in answers:
                error = (await imported(home, server, 400, path))["error"]
                assert "GRAFT_IMPORT_SOURCES" in error["message"]
            assert other.asked == []
            assert [path for _, path in server.asked] == [*answers]


async def test_redirects_without_end_are_refused(located: Located) -> None:
    async with located({"/adapters/one.tar.gz": moved("one.tar.gz")}) as (home, server, _):
        error = (await imported(home, server, 400))["error"]
        assert "redirects more than 3 times" in error["message"]
        assert len(server.asked) == 4


@pytest.mark.parametrize("slow", [drips, hangs])
async def test_a_server_that_takes_for_ever_is_cut_off_and_the_next_import_has_its_turn(
    located: Located, slow: Answer
) -> None:
    answers: dict[str, Answer] = {"/adapters/one.tar.gz": slow}
    async with located(answers, import_seconds=1.5) as (home, server, _):
        error = (await imported(home, server, 504))["error"]
        assert error["code"] == "timeout" and "GRAFT_IMPORT_SECONDS" in error["message"]
        answers["/adapters/two"] = sends(tar(home.files()))
        await imported(home, server, 201, "/adapters/two")


async def test_more_than_an_import_may_have_is_not_taken(located: Located) -> None:
    async with located({"/adapters/one.tar.gz": endless}) as (home, server, _):
        error = (await imported(home, server, 413))["error"]
        assert "GRAFT_IMPORT_MAX_BYTES" in error["message"]


@pytest.mark.parametrize("addresses", [(HERE,), ("93.184.216.34", HERE), ("::1",)])
async def test_a_name_with_a_private_address_is_not_connected_to(
    located: Located, addresses: tuple[str, ...]
) -> None:
    async with located({}, addresses=(addresses,), import_private_hosts=False) as (home, server, _):
        error = (await imported(home, server, 400))["error"]
        assert "GRAFT_IMPORT_PRIVATE_HOSTS" in error["message"]
        assert server.asked == []


async def test_a_name_that_changes_its_address_is_asked_where_it_was_looked_at(located: Located) -> None:
    answers: dict[str, Answer] = {}
    async with located(answers, addresses=((HERE,), ("127.0.0.2",))) as (home, server, names):
        answers["/adapters/one.tar.gz"] = sends(tar(home.files()))
        await imported(home, server, 201)
        assert (names.lookups, len(server.asked)) == (1, 1)
