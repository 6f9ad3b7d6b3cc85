"""The data plane's OpenAPI document: what the framework knows of the routes, and what only we know.

The endpoints that generate text are no routes of the framework, and no route lets it read a body. Fields that are
not listed go to the engine as they are.
"""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.bounds import ENTRIES, MAX_STOP_CHARACTERS, MAX_STOPS, WHOLE
from gateway.routes.embeddings import EmbeddingsBody
from gateway.routes.feedback_documents import EditBody, FeedbackBody, TokenBody

Document = dict[str, Any]

BODIES: Mapping[tuple[str, str], type[BaseModel]] = {
    ("/v1/embeddings", "post"): EmbeddingsBody,
    ("/v1/feedback", "post"): FeedbackBody,
    ("/v1/feedback/tokens", "post"): TokenBody,
    ("/v1/feedback/{feedback_id}", "patch"): EditBody,
}
TEXT: Document = {"type": "string"}
OBJECTS: Document = {"type": "array", "items": {"type": "object"}, "minItems": 1}
TOKENS: Document = {"type": "array", "items": {"type": "integer"}, "minItems": 1}
TEXTS: Document = {"type": "array", "items": TEXT, "minItems": 1}
STOP: Document = {"type": "string", "minLength": 1, "maxLength": MAX_STOP_CHARACTERS}
MESSAGE: Document = {"type": "object", "properties": {"role": TEXT, "content": TEXT}, "required": ["role"]}
MESSAGES: Document = {"type": "array", "items": MESSAGE, "minItems": 1}
COMMON: Document = {
    "model": {"type": "string", "minLength": 1},
    "stream": {"type": "boolean"},
    "stop": {"anyOf": [STOP, {"type": "array", "items": STOP, "maxItems": MAX_STOPS}]},
    **{name: {"type": "integer", "minimum": 1, "maximum": most} for name, most in WHOLE.items()},
    **{name: {"maxItems": most, "maxProperties": most} for name, most in ENTRIES.items()},
}
GENERATION: Mapping[str, tuple[str, Document]] = {
    "/v1/chat/completions": ("messages", MESSAGES),
    "/v1/completions": ("prompt", {"anyOf": [TEXT, TEXTS, TOKENS, {**OBJECTS, "items": TOKENS}]}),
    "/v1/responses": ("input", {"anyOf": [TEXT, MESSAGES]}),
}
"""By path: the field that holds the question."""
ERROR: Document = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": TEXT,
                "type": TEXT,
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
            "required": ["message", "type", "param", "code"],
        }
    },
    "required": ["error"],
}
FAILURE: Document = {
    "description": "Why not, in OpenAI's shape",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}


def described(app: FastAPI) -> Callable[[], Document]:
    """For `app.openapi`: the whole document, made once."""

    def openapi() -> Document:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    return openapi


def _document(app: FastAPI) -> Document:
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    paths = document["paths"]
    for path, (name, schema) in GENERATION.items():
        body = {"type": "object", "properties": {**COMMON, name: schema}, "required": ["model", name]}
        answer = {"200": {"description": "The answer, or its events"}}
        operation = {"requestBody": _json(body), "responses": answer, "tags": ["generation"]}
        paths.setdefault(path, {})["post"] = operation
    kinds = [(model, "validation") for model in BODIES.values()]
    found, shared = models_json_schema(kinds, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    for (path, method), model in BODIES.items():
        paths[path][method]["requestBody"] = _json(found[model, "validation"])
    document["components"] = {
        "schemas": {**shared.get("$defs", {}), "Error": ERROR},
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
    }
    document["security"] = [{"key": []}]
    for operations in paths.values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = FAILURE
    return document


def _json(schema: Document) -> Document:
    return {"required": True, "content": {"application/json": {"schema": schema}}}
