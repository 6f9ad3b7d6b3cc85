from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.chunking import Chunk, Section, chunk, markdown_sections

HANDBOOK = """# Acme handbook

Welcome.

## Orders
Orders ship
within two days.

### Returns ###
- Send it back.
- Keep the receipt.

```
# not a heading
```
## Team
Anna leads.
"""


def test_sections_carry_the_headings_above_them() -> None:
    assert [section.path for section in markdown_sections(HANDBOOK)] == [
        ("Acme handbook",),
        ("Acme handbook", "Orders"),
        ("Acme handbook", "Orders", "Returns"),
        ("Acme handbook", "Team"),
    ]


def test_a_heading_inside_fenced_code_is_code() -> None:
    assert "# not a heading" in markdown_sections(HANDBOOK)[2].text


def test_a_title_is_the_document_then_its_headings_without_repeating_the_document() -> None:
    chunks = chunk(markdown_sections(HANDBOOK), "Acme handbook")
    assert chunks[1] == Chunk("Acme handbook > Orders", "Orders ship within two days.")


def test_list_items_are_sentences_without_their_bullets() -> None:
    assert chunk([Section((), "- One thing\n- Another")], "T") == [Chunk("T", "One thing Another")]


def test_sentences_are_packed_up_to_the_limit() -> None:
    chunks = chunk([Section((), "Aaaa bbbb. Cccc dddd. Eeee ffff.")], "T", limit=22)
    assert [part.text for part in chunks] == ["Aaaa bbbb. Cccc dddd.", "Eeee ffff."]


def test_abbreviations_before_lower_case_do_not_end_a_sentence() -> None:
    chunks = chunk([Section((), "Use e.g. this one. Then stop.")], "T", limit=18)
    assert [part.text for part in chunks] == ["Use e.g. this one.", "Then stop."]


@settings(deadline=None)
@given(st.text(max_size=400), st.integers(5, 60))
def test_no_passage_is_longer_than_the_limit(text: str, limit: int) -> None:
    assert all(0 < len(part.text) <= limit for part in chunk([Section((), text)], "T", limit))


@settings(deadline=None)
@given(st.text(max_size=400), st.integers(5, 60))
def test_no_character_is_lost_but_space_and_list_marks(text: str, limit: int) -> None:
    joined = "".join(part.text for part in chunk([Section((), f"x {text}")], "T", limit))
    words = "".join(char for char in f"x{text}" if not char.isspace())
    assert len("".join(joined.split())) >= len(words) - sum(char in "-*+.)0123456789" for char in words)
