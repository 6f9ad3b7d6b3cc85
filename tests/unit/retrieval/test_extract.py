import pytest

from retrieval.errors import UnsupportedFile
from retrieval.extract import extract


def test_a_markdown_document_is_titled_by_its_first_heading() -> None:
    assert extract("notes.md", b"# Acme handbook\nHello.").title == "Acme handbook"


def test_a_text_file_is_titled_by_its_name() -> None:
    assert extract("acme_hand-book.txt", b"Hello.").title == "acme hand book"


def test_a_byte_order_mark_is_no_text() -> None:
    assert extract("a.txt", "\ufeffHello.".encode()).sections[0].text == "Hello."


def test_an_empty_file_has_no_sections() -> None:
    assert list(extract("a.md", b"").sections) == []


@pytest.mark.parametrize(
    ("name", "content"), [("a.exe", b"x"), ("a.txt", b"\xff\xfe"), ("a.md", b"a\0b"), ("a", b"x")]
)
def test_what_cannot_be_read_is_refused(name: str, content: bytes) -> None:
    with pytest.raises(UnsupportedFile):
        extract(name, content)
