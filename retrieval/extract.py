"""A file's bytes as sections of text. One reader per kind of file, chosen by its name's ending."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from retrieval.chunking import Section, markdown_sections
from retrieval.errors import UnsupportedFile


@dataclass(frozen=True)
class Document:
    title: str
    sections: Sequence[Section]


def extract(filename: str, content: bytes) -> Document:
    """Raises UnsupportedFile for an unknown kind of file, and for bytes that are not UTF-8 text."""
    path = PurePath(filename)
    reader = _READERS.get(path.suffix.casefold())
    if reader is None:
        kinds = ", ".join(sorted(_READERS))
        raise UnsupportedFile(
            f"{filename}: cannot read this kind of file; these can be read: {kinds}", "file"
        )
    return reader(path.stem.replace("_", " ").replace("-", " "), _decoded(filename, content))


def _decoded(filename: str, content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnsupportedFile(f"{filename}: not UTF-8 text", "file") from error
    if "\0" in text:
        raise UnsupportedFile(f"{filename}: binary content", "file")
    return text


def _plain(title: str, text: str) -> Document:
    return Document(title, [Section((), text.strip())] if text.strip() else [])


def _markdown(title: str, text: str) -> Document:
    """The first top heading is the document's title; without one, the file's name is."""
    sections = markdown_sections(text)
    tops = [section.path[0] for section in sections if section.path]
    return Document(tops[0] if tops else title, sections)


_READERS: dict[str, Callable[[str, str], Document]] = {
    ".txt": _plain,
    ".text": _plain,
    ".md": _markdown,
    ".markdown": _markdown,
}
