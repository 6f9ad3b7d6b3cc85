"""A web server with a certificate, and the authority that signed it: both made here, for one test."""

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = timedelta(days=1)


class Authority:
    """`file` is what whoever trusts it is given."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, directory.name)])
        made = _certificate(self._name, self._name, self._key, DAY)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.file = directory / "ca.pem"
        self.file.write_bytes(_pem(made.sign(self._key, hashes.SHA256())))

    def certified(self, name: str, lasts: timedelta = DAY) -> ssl.SSLContext:
        """What a server of this name shows."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        made = _certificate(subject, self._name, key, lasts)
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        file = self._directory / "server.pem"
        file.write_bytes(secret + _pem(made.sign(self._key, hashes.SHA256())))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, lasts: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        issuer, subject, key.public_key(), x509.random_serial_number(), now - 2 * DAY, now + lasts
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


class Handler(BaseHTTPRequestHandler):
    server: "TlsServer"

    def do_GET(self) -> None:
        self.server.asked.append((self.headers["host"], self.path.partition("?")[0]))
        with suppress(OSError):
            self.server.answers[self.path.partition("?")[0]](self)

    def log_message(self, *_: object) -> None:
        pass


Answer = Callable[[Handler], None]


class TlsServer(ThreadingHTTPServer):
    """asked: host and path of every request that got through."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext, answers: Mapping[str, Answer], address: str) -> None:
        super().__init__((address, 0), Handler)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.answers = answers
        self.asked: list[tuple[str, str]] = []
        self.over = threading.Event()

    def handle_error(self, *_: object) -> None:
        """Who does not trust us breaks off."""


@contextmanager
def tls_server(
    context: ssl.SSLContext, answers: Mapping[str, Answer], address: str = "127.0.0.1"
) -> Iterator[TlsServer]:
    server = TlsServer(context, answers, address)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def sends(body: bytes) -> Answer:
    def answer(to: Handler) -> None:
        _head(to, 200, {"content-length": str(len(body))})
        to.wfile.write(body)

    return answer


def moved(location: str) -> Answer:
    return lambda to: _head(to, 302, {"location": location, "content-length": "0"})


def endless(to: Handler) -> None:
    """As much as somebody takes."""
    _head(to, 200, {})
    while not to.server.over.is_set():
        to.wfile.write(bytes(65536))


def drips(to: Handler) -> None:
    """A byte now and then, and never an end."""
    _head(to, 200, {})
    while not to.server.over.wait(0.05):
        to.wfile.write(b"x")


def hangs(to: Handler) -> None:
    to.server.over.wait()


def _head(to: Handler, status: int, headers: Mapping[str, str]) -> None:
    to.send_response(status)
    for name, value in headers.items():
        to.send_header(name, value)
    to.end_headers()


class Names:
    """What look-ups of a name answer, one after the other, the last again and again. Put in place of
    `socket.getaddrinfo`, which other names still reach."""

    def __init__(self, name: str, answers: Sequence[Sequence[str]], real: Callable[..., Any]) -> None:
        self._name = name
        self._answers = answers
        self._real = real
        self.lookups = 0

    def __call__(self, host: Any, port: Any, *more: Any, **named: Any) -> Any:
        if host != self._name:
            return self._real(host, port, *more, **named)
        found = self._answers[min(self.lookups, len(self._answers) - 1)]
        self.lookups += 1
        return [entry for address in found for entry in self._real(address, port, *more, **named)]
