"""A folder spoken to in as much of the Hugging Face hub's protocol as reading needs."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Handler(BaseHTTPRequestHandler):
    """Repositories are folders `root/owner/name`, of which there is one revision."""

    protocol_version = "HTTP/1.1"
    root: Path

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        match parts:
            case ["api", "models", owner, name] | ["api", "models", owner, name, "revision", _]:
                self._told(owner, name, {"id": f"{owner}/{name}", "sha": COMMIT, "siblings": []})
            case ["api", "models", owner, name, "tree", _, *inside]:
                folder = self.root / owner / name / Path(*inside)
                self._told(owner, name, [_entry(file, self.root / owner / name) for file in _in(folder)])
            case [owner, name, "resolve", _, *inside]:
                self._file(self.root / owner / name / Path(*inside))
            case _:
                self._answer(404, b"{}")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        match self.path.strip("/").split("/"):
            case ["api", "models", owner, name, "paths-info", _]:
                paths = parse_qs(body).get("paths", []) if "=" in body else json.loads(body)["paths"]
                place = self.root / owner / name
                found = [place / path for path in paths if (place / path).exists()]
                self._told(owner, name, [_entry(file, place) for file in found])
            case _:
                self._answer(404, b"{}")

    def log_message(self, *_: object) -> None:
        pass

    def _told(self, owner: str, name: str, document: Any) -> None:
        if (self.root / owner / name).is_dir():
            self._answer(200, json.dumps(document).encode())
        else:
            self._answer(404, b"{}", {"x-error-code": "RepoNotFound"})

    def _file(self, file: Path) -> None:
        if not file.is_file():
            return self._answer(404, b"", {"x-error-code": "EntryNotFound"})
        data, status = file.read_bytes(), 200
        if asked := self.headers.get("range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            data, status = data[int(first) : int(last or len(data)) + 1], 206
        self._answer(status, data, {"x-repo-commit": COMMIT, "etag": '"1"'})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _entry(file: Path, place: Path) -> dict[str, Any]:
    path = file.relative_to(place).as_posix()
    if file.is_dir():
        return {"type": "directory", "oid": "0" * 40, "path": path, "size": 0}
    return {"type": "file", "oid": "0" * 40, "path": path, "size": file.stat().st_size}


@contextmanager
def hub(root: Path) -> Iterator[str]:
    """Its URL."""
    handler = type("Rooted", (Handler,), {"root": root})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
