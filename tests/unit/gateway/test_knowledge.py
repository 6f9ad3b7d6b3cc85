"""When two requests with one idempotency key are the same."""

import httpx
import pytest

from gateway.routes.knowledge import comparable


def form(content: bytes, name: str = "a.txt", purpose: str = "assistants") -> tuple[str, bytes]:
    """As a client sends it: each time with another boundary."""
    files = {"file": (name, content, "text/plain")}
    request = httpx.Request("POST", "http://graft/v1/files", data={"purpose": purpose}, files=files)
    return request.headers["content-type"], request.read()


def test_a_form_sent_again_is_the_same_whatever_its_boundary() -> None:
    first, again = form(b"Zorvia opens at nine."), form(b"Zorvia opens at nine.")
    assert first != again
    assert comparable(*first) == comparable(*again)


@pytest.mark.parametrize(
    "other",
    [
        form(b"Zorvia opens at ten."),
        form(b"Zorvia opens at nine.", name="b.txt"),
        form(b"Zorvia opens at nine.", purpose="batch"),
    ],
)
def test_a_form_with_another_file_name_or_field_is_another(other: tuple[str, bytes]) -> None:
    assert comparable(*form(b"Zorvia opens at nine.")) != comparable(*other)


def test_a_quoted_boundary_is_understood() -> None:
    one, two = [
        (f'multipart/form-data; boundary="{mark}"', f"--{mark}\r\nx\r\n--{mark}--".encode()) for mark in "pq"
    ]
    assert comparable(*one) == comparable(*two)


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", ""])
def test_what_has_no_boundary_is_compared_as_it_is(kind: str) -> None:
    assert comparable(kind, b"{}") == b"{}"
