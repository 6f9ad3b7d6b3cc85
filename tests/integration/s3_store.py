"""A folder spoken to in as much of S3's protocol as reading needs: lists, heads and ranged gets, path style."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

LISTING = """<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>{bucket}</Name><Prefix>{prefix}</Prefix>
<KeyCount>{count}</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"""
CONTENT = """<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>"1"</ETag>
<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    root: Path

    def do_HEAD(self) -> None:
        self._object(body=False)

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            self._list(query.get("prefix", [""])[0])
        else:
            self._object(body=True)

    def log_message(self, *_: object) -> None:
        pass

    def _list(self, prefix: str) -> None:
        bucket = unquote(urlsplit(self.path).path).strip("/")
        place = self.root / bucket
        files = [file for file in sorted(place.rglob("*")) if file.is_file()]
        keys = {file.relative_to(place).as_posix(): file.stat().st_size for file in files}
        found = {key: size for key, size in keys.items() if key.startswith(prefix)}
        contents = "".join(CONTENT.format(key=escape(key), size=size) for key, size in found.items())
        document = LISTING.format(
            bucket=escape(bucket), prefix=escape(prefix), count=len(found), contents=contents
        )
        self._answer(200, document.encode(), {"content-type": "application/xml"})

    def _object(self, *, body: bool) -> None:
        file = self.root / unquote(urlsplit(self.path).path).strip("/")
        if not file.is_file():
            return self._answer(404, b"", {})
        data = file.read_bytes()
        headers = {"etag": '"1"', "last-modified": formatdate(usegmt=True), "accept-ranges": "bytes"}
        asked = self.headers.get("range")
        if asked is None:
            return self._answer(200, data, headers, body=body)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        part = data[int(first) : int(last) + 1 if last else None]
        headers["content-range"] = f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}"
        self._answer(206, part, headers, body=body)

    def _answer(self, status: int, data: bytes, headers: dict[str, str], *, body: bool = True) -> None:
        self.send_response(status)
        for name, value in (headers | {"content-length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)


@contextmanager
def s3_store(root: Path) -> Iterator[str]:
    """Buckets are the folders below `root`. Its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Served", (Handler,), {"root": root}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
