"""Which parts of a message's content an engine may get: those that are text, whatever else is written beside it.

An engine fetches what a part's URL names, from where it stands, and so for a tenant. What makes it look for a URL is
not the part's type alone: next to `uuid` vLLM takes the medium that a part of any type names.
"""

from collections.abc import Collection, Sequence
from typing import Any

from gateway.errors import InvalidRequest

MEDIA = frozenset(
    {
        "audio_embeds",
        "audio_url",
        "file",
        "file_data",
        "file_id",
        "file_url",
        "image_embeds",
        "image_pil",
        "image_url",
        "input_audio",
        "input_image",
        "prompt_embeds",
        "uuid",
        "video_embeds",
        "video_url",
    }
)
"""Fields of a part that are, or lead to, something else than text."""


def check_parts(parts: Sequence[Any], kinds: Collection[str], param: str) -> None:
    """kinds: the types of text that the endpoint has. Raises InvalidRequest."""
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(kind, str) or kind not in kinds or not MEDIA.isdisjoint(part):
            raise InvalidRequest("Only text content is served.", param=param)
