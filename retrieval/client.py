"""The retrieval service as other processes see it. Light: one HTTP client, no index, no encoder."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import orjson
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import PyreqwestError, RequestTimeoutError
from pyreqwest.response import Response

from retrieval.errors import RetrievalError, RetrievalTimeout, RetrievalUnavailable
from retrieval.types import Embedded, Forwarded, Found, MemoryEntry, MemoryHit, Passage

JSON = "application/json"
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_NOT_FOUND = orjson.dumps(
    {
        "error": {
            "message": "No such resource.",
            "type": "invalid_request_error",
            "param": None,
            "code": "not_found",
        }
    }
)


class RetrievalClient:
    """Methods raise RetrievalUnavailable when the service cannot answer, RetrievalTimeout when it is late.

    url: the service's root, `http://host:port`. token: the bearer token our processes share.
    All deadlines are in seconds and span the whole exchange.
    """

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._http: Client = ClientBuilder().no_proxy().follow_redirects(False).build()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.close()

    async def search(
        self, tenant_id: str, question: str, *, k: int = 4, memory: bool = True, timeout_s: float = 1.0
    ) -> Found:
        """The tenant's passages (at most k, none for k = 0) and the corrections that answer this question."""
        asked = {"question": question, "k": k, "memory": memory}
        answer = await self._json("POST", f"/tenants/{_segment(tenant_id)}/search", asked, timeout_s)
        return Found(
            passages=tuple(Passage(**passage) for passage in answer["passages"]),
            memory=tuple(MemoryHit(**hit) for hit in answer["memory"]),
        )

    async def put_memory(self, entry: MemoryEntry, *, timeout_s: float = 10.0) -> None:
        """Add or replace an entry. When this returns, the entry is stored and the next search can find it."""
        path = f"/tenants/{_segment(entry.tenant_id)}/memory/{_segment(entry.id)}"
        await self._json("PUT", path, {"question": entry.question, "answer": entry.answer}, timeout_s)

    async def delete_memory(self, tenant_id: str, entry_id: str, *, timeout_s: float = 10.0) -> bool:
        """Forget an entry; returns whether there was one."""
        path = f"/tenants/{_segment(tenant_id)}/memory/{_segment(entry_id)}"
        return bool((await self._json("DELETE", path, None, timeout_s))["deleted"])

    async def delete_tenant(self, tenant_id: str, *, timeout_s: float = 60.0) -> None:
        """Forget all of a tenant's documents and memory."""
        await self._json("DELETE", f"/tenants/{_segment(tenant_id)}", None, timeout_s)

    async def embed(self, texts: Sequence[str], *, timeout_s: float = 60.0) -> Embedded:
        answer = await self._json("POST", "/embed", {"texts": list(texts)}, timeout_s)
        return Embedded(answer["vectors"], answer["tokens"])

    async def forward(
        self,
        tenant_id: str,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        content_type: str = JSON,
        query: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> Forwarded:
        """Pass a tenant's request on files or vector stores to the service, and its answer back unread.

        path: what follows the tenant, as `/files/file-12/content`. A path whose segments are not plain
        identifiers is answered 404 here: `..` must never climb out of the tenant.
        """
        segments = path.strip("/").split("/")
        if not all(_SEGMENT.fullmatch(segment) for segment in segments):
            return Forwarded(404, _NOT_FOUND, JSON)
        full = f"/tenants/{_segment(tenant_id)}/" + "/".join(segments)
        response = await self._send(method, full, body, content_type, timeout_s, query)
        return Forwarded(
            response.status, bytes(await response.bytes()), response.get_header("content-type") or JSON
        )

    async def healthy(self, *, timeout_s: float = 1.0) -> bool:
        """Whether the service answers and has its encoder ready."""
        try:
            response = await self._send("GET", "/healthz", b"", JSON, timeout_s)
        except RetrievalError:
            return False
        return response.status == 200

    async def _json(self, method: str, path: str, payload: Any, timeout_s: float) -> Any:
        body = b"" if payload is None else orjson.dumps(payload)
        response = await self._send(method, path, body, JSON, timeout_s)
        content = await response.bytes()
        if response.status != 200:
            raise RetrievalUnavailable(f"retrieval answered {response.status}: {bytes(content)[:300]!r}")
        return orjson.loads(memoryview(content))

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes,
        content_type: str,
        timeout_s: float,
        query: Mapping[str, str] | None = None,
    ) -> Response:
        builder = self._http.request(method, self._url + path).bearer_auth(self._token)
        builder = builder.timeout(timedelta(seconds=timeout_s))
        if query:
            builder = builder.query(query)
        if body:
            builder = builder.header("content-type", content_type).body_bytes(body)
        try:
            return await builder.build().send()
        except RequestTimeoutError as error:
            raise RetrievalTimeout(f"retrieval did not answer within {timeout_s} s") from error
        except PyreqwestError as error:
            raise RetrievalUnavailable(f"retrieval cannot be reached: {error}") from error


def _segment(identifier: str) -> str:
    """An identifier as one path segment; anything that could be read as more is refused."""
    if not _SEGMENT.fullmatch(identifier):
        raise RetrievalError(f"not an identifier: {identifier!r}")
    return identifier
