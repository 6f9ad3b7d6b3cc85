"""JSON from strangers, taken only where all readers of it agree."""

import json
import re
from collections.abc import Sequence
from typing import Any

import orjson

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""Behind an even number of backslashes, each pair of which is one in the text."""


def read_json(body: bytes) -> Any:
    """Raises ValueError with a reason: not JSON in UTF-8, a key twice, a number that is none, nested deeper than it
    could be written again, or with a NUL, which not every database keeps."""
    if _NUL.search(body):
        raise ValueError("holds the character NUL")
    try:
        orjson.dumps(orjson.loads(body))
        return json.loads(body, object_pairs_hook=_unambiguous)
    except orjson.JSONDecodeError as error:
        raise ValueError("is not JSON in UTF-8") from error
    except (TypeError, RecursionError) as error:
        raise ValueError("is nested too deeply") from error


def _unambiguous(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Which of two equal keys counts is each reader's own choice: there may be none."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("names a key twice")
    return made
