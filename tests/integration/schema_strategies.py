"""Requests as an OpenAPI document describes them, and as it does not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st

Schema = Mapping[str, Any]

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
HEADER_TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
HEADERS = (
    "host", "x-tenant-id", "x-adapter", "x-retrieval", "x-memory", "x-session-id", "idempotency-key", "traceparent",
    "tracestate", "accept", "content-type", "expect", "range", "origin", "if-match", "x-http-method-override",
)  # fmt: skip


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    described: Schema


def operations(document: Schema) -> list[Operation]:
    return [
        Operation(method.upper(), path, described)
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    ]


def instances(schema: Schema, document: Schema) -> st.SearchStrategy[Any]:
    """Values that the schema allows, roughly."""
    if "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return instances(found, document)
    for name in ("anyOf", "oneOf"):
        if name in schema:
            return st.one_of([instances(each, document) for each in schema[name]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "const" in schema:
        return st.just(schema["const"])
    match schema.get("type"):
        case "object":
            return _objects(schema, document)
        case "array":
            least = schema.get("minItems", 0)
            return st.lists(instances(schema.get("items", {}), document), min_size=least, max_size=least + 2)
        case "string":
            return st.text(min_size=schema.get("minLength", 0), max_size=min(20, schema.get("maxLength", 20)))
        case "integer":
            return st.integers(schema.get("minimum", -1000), schema.get("maximum", 1000))
        case "number":
            return st.floats(-1e6, 1e6)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
    return JSON


def _objects(schema: Schema, document: Schema) -> st.SearchStrategy[Any]:
    fields = {name: instances(each, document) for name, each in schema.get("properties", {}).items()}
    needed = {name: fields.pop(name) for name in schema.get("required", ()) if name in fields}
    if not fields and not needed:
        return st.dictionaries(TEXT, JSON, max_size=3)
    return st.fixed_dictionaries(needed, optional=fields)


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[Any]) -> Any:
    """A value of `whole` in which one part is anything."""
    value = draw(whole)
    if isinstance(value, dict) and value:
        name = draw(st.sampled_from(sorted(value)))
        return {**value, name: draw(JSON), **draw(st.dictionaries(TEXT, JSON, max_size=1))}
    return draw(JSON)


@st.composite
def requests(
    draw: st.DrawFn, operation: Operation, document: Schema, known: Mapping[str, Any]
) -> dict[str, Any]:
    """Arguments for httpx. known: values worth trying in a body, by field."""
    path = operation.path
    for parameter in operation.described.get("parameters", ()):
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", quote(draw(TEXT.filter(bool)), safe=""))
    names = [each["name"] for each in operation.described.get("parameters", ()) if each["in"] == "query"]
    query = draw(st.dictionaries(st.sampled_from([*names, "x"]), TEXT, max_size=3)) if names else {}
    headers = draw(st.dictionaries(st.sampled_from(HEADERS), HEADER_TEXT, max_size=3))
    found = {"method": operation.method, "url": path, "params": query, "headers": headers}
    body = operation.described.get("requestBody")
    if body is None:
        return found
    right = instances(body["content"]["application/json"]["schema"], document)
    right = right.map(lambda value: {**value, **{name: known[name] for name in known if name in value}})
    if draw(st.integers(0, 9)) == 0:
        return {**found, "content": draw(st.binary(max_size=50))}
    return {**found, "json": draw(st.one_of(right, damaged(right), JSON))}
