"""The commands' HTTP client: JSON in and out, failures as sentences with exit codes."""

import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from gateway.cli.output import CommandError, Exit

TIMEOUT_SECONDS = 120.0
"""Long, because a swap answers when it is done."""
_EXITS = {404: Exit.NOT_FOUND, 409: Exit.CONFLICT}


class Api:
    """One of the two APIs under `url`, with one key."""

    def __init__(self, url: str, key: str, headers: Mapping[str, str] | None = None) -> None:
        self._url = url
        self._http = httpx.Client(
            base_url=url + "/",
            headers={"authorization": f"Bearer {key}", **(headers or {})},
            timeout=TIMEOUT_SECONDS,
            trust_env=False,
        )
        weakref.finalize(self, self._http.close)

    def get(self, path: str, **query: Any) -> Any:
        wanted = {name: value for name, value in query.items() if value is not None}
        return self.call("GET", path, params=wanted).json()

    def post(self, path: str, body: Any = None) -> Any:
        return self.call("POST", path, json=body or {}).json()

    def put(self, path: str, body: Any, revision: int | None = None) -> Any:
        """revision: what `body` was made from; when somebody wrote after it, the answer is 409."""
        headers = {} if revision is None else {"if-match": f'"{revision}"'}
        return self.call("PUT", path, json=body, headers=headers).json()

    def delete(self, path: str) -> Any:
        return self.call("DELETE", path).json()

    def all(self, path: str, *, page_size: int = 100, **query: Any) -> Iterator[Any]:
        """Every entry of a paged list."""
        after = None
        while True:
            page = self.get(path, after=after, limit=page_size, **query)
            yield from page["data"]
            if not page.get("has_more"):
                return
            after = page["last_id"]

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One exchange. Raises CommandError for everything that is not success."""
        try:
            response = self._http.request(method, path.lstrip("/"), **options)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if response.is_success:
            return response
        raise failure(response)

    def stream(self, method: str, path: str, **options: Any) -> Iterator[str]:
        """The lines of an answer as they come."""
        try:
            with self._http.stream(method, path.lstrip("/"), **options) as response:
                if not response.is_success:
                    response.read()
                    raise failure(response)
                yield from response.iter_lines()
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def download(self, path: str) -> Iterator[bytes]:
        """The bytes of an answer as they come."""
        try:
            with self._http.stream("GET", path.lstrip("/")) as response:
                if not response.is_success:
                    response.read()
                    raise failure(response)
                yield from response.iter_raw()
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> CommandError:
        return CommandError(
            f"Nothing answers at {self._url} ({type(error).__name__}).",
            fix="Start the system with `graft up`, or look at `graft status`.",
            code=Exit.UNREACHABLE,
        )


def failure(response: httpx.Response) -> CommandError:
    """The API's own sentence."""
    try:
        message = str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = response.text[:300]
    code = _EXITS.get(response.status_code, Exit.FAILED)
    return CommandError(message or f"HTTP {response.status_code}", code=code)
