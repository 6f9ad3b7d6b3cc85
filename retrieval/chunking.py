"""A document's text cut into passages along its own structure. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MAX_CHARACTERS = 480
"""About 120 tokens: a passage holds a thought, and several fit into a small model's context."""
SEPARATOR = " > "

_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*\s*$")
_FENCE = re.compile(r"\s*(```|~~~)")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"')\]]*\s+(?=[\"'(\[]*[A-Z0-9À-Þ])")
_LIST_ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])\s+")


@dataclass(frozen=True)
class Section:
    """Text under one heading. path: the headings above it, outermost first."""

    path: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Chunk:
    title: str
    text: str


def chunk(sections: Sequence[Section], document_title: str, limit: int = MAX_CHARACTERS) -> list[Chunk]:
    """Passages of at most `limit` characters, none spanning two sections or breaking a sentence that fits.

    The title of a passage is the document's, then the headings above it.
    """
    chunks = []
    for section in sections:
        path = [document_title, *(heading for heading in section.path if heading != document_title)]
        title = SEPARATOR.join(part for part in path if part)
        chunks += [Chunk(title, text) for text in _pack(_sentences(section.text, limit), limit)]
    return chunks


def markdown_sections(text: str) -> list[Section]:
    """Splits at ATX headings; headings inside fenced code are code."""
    sections: list[Section] = []
    path: list[tuple[int, str]] = []
    lines: list[str] = []
    fenced = False
    for line in text.splitlines():
        fenced ^= _FENCE.match(line) is not None
        heading = None if fenced else _HEADING.match(line)
        if heading is None:
            lines.append(line)
            continue
        sections.append(_section(path, lines))
        lines = []
        level = len(heading.group(1))
        path = [*(above for above in path if above[0] < level), (level, heading.group(2))]
    sections.append(_section(path, lines))
    return [section for section in sections if section.text]


def _section(path: Sequence[tuple[int, str]], lines: Sequence[str]) -> Section:
    return Section(tuple(heading for _, heading in path), "\n".join(lines).strip())


def _sentences(text: str, limit: int) -> Iterator[str]:
    """Sentences and list items, whitespace collapsed; one that is too long comes in pieces, cut at words."""
    for block in re.split(r"\n\s*\n", text):
        for line in _joined_lines(block):
            for sentence in _SENTENCE_END.split(" ".join(line.split())):
                yield from _pieces(sentence, limit)


def _joined_lines(block: str) -> list[str]:
    """A block's hard-wrapped lines as one, but each list item and table row on its own."""
    lines: list[str] = []
    for line in block.splitlines():
        own = _LIST_ITEM.match(line) or line.lstrip().startswith("|")
        if lines and not own and not lines[-1].lstrip().startswith("|"):
            lines[-1] += " " + line
        else:
            lines.append(_LIST_ITEM.sub("", line, count=1) if own else line)
    return lines


def _pieces(sentence: str, limit: int) -> Iterator[str]:
    while len(sentence) > limit:
        cut = sentence.rfind(" ", 1, limit + 1)
        cut = cut if cut > 0 else limit
        yield sentence[:cut].strip()
        sentence = sentence[cut:].strip()
    if sentence:
        yield sentence


def _pack(sentences: Iterator[str], limit: int) -> list[str]:
    packed: list[str] = []
    for sentence in sentences:
        if packed and len(packed[-1]) + 1 + len(sentence) <= limit:
            packed[-1] += " " + sentence
        else:
            packed.append(sentence)
    return packed
