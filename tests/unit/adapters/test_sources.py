"""What an import may read: nothing unless allowed, and never from an address that only a name hides."""

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import httpx
import pytest

from adapters.errors import AdapterTooLarge, SourceRefused
from adapters.settings import environment_of_others
from adapters.sources import Sources

PLACES = ("https://models.example.com/adapters/",)
URI = "https://models.example.com/adapters/one.tar"
Answers = Mapping[str, httpx.Response]


def sending(content: bytes) -> httpx.Response:
    async def pieces() -> AsyncIterator[bytes]:
        yield content

    return httpx.Response(200, content=pieces())


class Web:
    """Answers by path; remembers what was asked of which address."""

    def __init__(self, answers: Answers, addresses: Sequence[str] = ("93.184.216.34",)) -> None:
        self.asked: list[httpx.Request] = []
        self.addresses = addresses
        self._answers = answers

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        return self.addresses

    async def fetch(
        self, tmp_path: Path, uri: str = URI, *, places: Sequence[str] = PLACES, private: bool = False
    ) -> bytes:
        def answer(request: httpx.Request) -> httpx.Response:
            self.asked.append(request)
            return self._answers[request.url.path]

        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            sources = Sources(http, places, private=private, resolve=self.resolve)
            return (await sources.fetch(uri, tmp_path, 1000)).read_bytes()


def good() -> Web:
    return Web({"/adapters/one.tar": sending(b"archive")})


def leading_to(location: str) -> Web:
    moved = httpx.Response(302, headers={"location": location})
    answers = {"/adapters/one.tar": moved, "/adapters/two.tar": sending(b"two")}
    return Web(answers)


async def test_an_allowed_uri_is_read_from_the_address_that_was_looked_at(tmp_path: Path) -> None:
    web = good()
    assert await web.fetch(tmp_path) == b"archive"
    (request,) = web.asked
    assert (request.url.host, request.headers["host"]) == ("93.184.216.34", "models.example.com")
    assert request.extensions["sni_hostname"] == "models.example.com"


async def test_without_places_nothing_is_read_and_the_setting_is_named(tmp_path: Path) -> None:
    web = good()
    with pytest.raises(SourceRefused, match="GRAFT_IMPORT_SOURCES"):
        await web.fetch(tmp_path, places=())
    assert web.asked == []


@pytest.mark.parametrize(
    "uri", ["https://evil.example/adapters/one.tar", "http://models.example.com/adapters/one.tar"]
)
async def test_a_uri_elsewhere_is_not_asked(tmp_path: Path, uri: str) -> None:
    web = good()
    with pytest.raises(SourceRefused):
        await web.fetch(tmp_path, uri)
    assert web.asked == []


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "::ffff:10.0.0.1"])
async def test_a_private_address_behind_an_allowed_name_is_not_asked(tmp_path: Path, address: str) -> None:
    web = good()
    web.addresses = ["93.184.216.34", address]
    with pytest.raises(SourceRefused, match="private"):
        await web.fetch(tmp_path)
    assert web.asked == []


async def test_a_private_address_is_asked_where_that_is_allowed(tmp_path: Path) -> None:
    web = good()
    web.addresses = ["10.0.0.1"]
    assert await web.fetch(tmp_path, private=True) == b"archive"


async def test_a_redirect_below_an_allowed_place_is_followed(tmp_path: Path) -> None:
    assert await leading_to("two.tar").fetch(tmp_path) == b"two"


@pytest.mark.parametrize(
    "location",
    [
        "https://169.254.169.254/latest",
        "http://models.example.com/adapters/two.tar",
        "/secret",
        "file:///etc",
        "",
    ],
)
async def test_a_redirect_off_the_allowed_places_is_not_followed(tmp_path: Path, location: str) -> None:
    web = leading_to(location)
    with pytest.raises(SourceRefused):
        await web.fetch(tmp_path)
    assert {request.url.path for request in web.asked} == {"/adapters/one.tar"}


async def test_a_file_over_the_limit_is_not_read_to_its_end(tmp_path: Path) -> None:
    web = Web({"/adapters/one.tar": sending(bytes(1001))})
    with pytest.raises(AdapterTooLarge):
        await web.fetch(tmp_path)


async def test_a_refusal_never_repeats_the_uris_query(tmp_path: Path) -> None:
    web = Web({"/adapters/one.tar": httpx.Response(403)})
    with pytest.raises(SourceRefused) as caught:
        await web.fetch(tmp_path, f"{URI}?signature=secret")
    assert "403" in str(caught.value) and "secret" not in str(caught.value)


async def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceRefused, match="cannot be read"):
        await good().fetch(tmp_path, (tmp_path / "none").as_uri(), places=[tmp_path.as_uri()])


async def test_the_process_that_copies_is_told_nothing_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_ADMIN_KEY", "secret")
    monkeypatch.setenv("AWS_PROFILE", "theirs")
    told = environment_of_others()
    assert told["AWS_PROFILE"] == "theirs"
    assert not [name for name in told if name.startswith("GRAFT_")]


async def test_of_a_process_that_fails_the_log_has_the_kind_of_exception_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing = (sys.executable, "-c", "import sys; sys.stdin.read(); raise KeyError('signed address')")
    monkeypatch.setattr("adapters.sources._COPYING", failing)
    with pytest.raises(SourceRefused, match="ended with 1"):
        await good().fetch(tmp_path, (tmp_path / "one").as_uri(), places=[tmp_path.as_uri()])
    assert "KeyError" in caplog.text and "signed" not in caplog.text
