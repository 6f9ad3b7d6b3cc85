"""`POST /v1/embeddings`: the retrieval service's encoder in OpenAI's shape."""

import base64
from array import array
from collections.abc import Sequence
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, field_validator
from pydantic_core import PydanticCustomError

from gateway.admission import Admissions
from gateway.errors import InvalidRequest, RetrievalFailed
from gateway.keys import Scope
from gateway.routes.access import Access, json_response
from retrieval.client import RetrievalClient
from retrieval.errors import RetrievalUnavailable

MAX_INPUTS = 2048


class EmbeddingsBody(BaseModel):
    """`model` is echoed: there is one encoder, which has a vocabulary of its own: token ids are no input."""

    input: str | list[str] = Field(max_length=1_000_000)
    model: str
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None

    @field_validator("input", mode="before")
    @classmethod
    def _are_texts(cls, value: Any) -> Any:
        texts = value if isinstance(value, list) else [value]
        if not 1 <= len(texts) <= MAX_INPUTS or not all(isinstance(text, str) and text for text in texts):
            said = f"`input` is a text or a list of 1 to {MAX_INPUTS} texts, none of them empty."
            raise PydanticCustomError("texts", said)
        return value


def embeddings_router(access: Access, retrieval: RetrievalClient, admissions: Admissions) -> APIRouter:
    router = APIRouter(prefix="/v1/embeddings", tags=["embeddings"])

    @router.post("")
    async def embed(request: Request) -> Response:
        principal = access.principal(request, Scope.CHAT)
        body = await access.json(request, EmbeddingsBody)
        texts = [body.input] if isinstance(body.input, str) else body.input
        estimate = sum(max(1, len(text) // 4) for text in texts)
        reservation = await admissions.reserve(principal, estimate)
        try:
            vectors, tokens = await retrieval.embed(texts)
            reservation.settle(tokens)
        except RetrievalUnavailable as error:
            raise RetrievalFailed("The encoder is not available.", retry_after_s=1.0) from error
        finally:
            reservation.release()
        size = len(vectors[0])
        if body.dimensions not in (None, size):
            raise InvalidRequest(f"The encoder's vectors have {size} dimensions.", param="dimensions")
        data = [
            {"object": "embedding", "index": index, "embedding": _encoded(vector, body.encoding_format)}
            for index, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        answer = {"object": "list", "data": data, "model": body.model, "usage": usage}
        return json_response(200, answer, dict(reservation.headers()))

    return router


def _encoded(vector: Sequence[float], encoding: str) -> Sequence[float] | str:
    """base64 is what the official clients ask for: little-endian 32-bit floats."""
    return vector if encoding == "float" else base64.b64encode(array("f", vector).tobytes()).decode()
