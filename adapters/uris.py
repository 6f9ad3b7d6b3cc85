"""Which URIs an adapter may be read from, pure: how they are written, what an allow-list allows, and which
addresses are public."""

import ipaddress
from collections.abc import Iterable
from urllib.parse import SplitResult, unquote, urlsplit

SCHEMES = ("file", "s3", "https", "hf")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def parse_uri(uri: str) -> SplitResult:
    """Raises ValueError for what two readers could understand differently, and for schemes not read here."""
    if not uri.isascii() or not uri.isprintable() or " " in uri or "\\" in uri or "::" in uri:
        raise ValueError("a URI holds no spaces, backslashes, `::`, or characters outside ASCII")
    parts = urlsplit(uri)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"its scheme is not one of {', '.join(SCHEMES)}")
    if "@" in parts.netloc or parts.fragment:
        raise ValueError("it holds credentials or a fragment")
    if bool(parts.netloc) is (parts.scheme == "file") or not parts.path.startswith("/"):
        raise ValueError("it must name a host or bucket, and a path; a file: URI has only a path")
    if {".", ".."} & set(unquote(parts.path).split("/")):
        raise ValueError("its path holds `.` or `..`")
    _ = parts.port
    return parts


def allowed(uri: SplitResult, places: Iterable[str]) -> bool:
    """Whether the URI is one of the places, or below one of them: a whole path segment decides, not a prefix
    of letters."""
    return any(_below(uri, urlsplit(place)) for place in places)


def _below(uri: SplitResult, place: SplitResult) -> bool:
    same_host = (uri.scheme, uri.netloc.lower()) == (place.scheme, place.netloc.lower())
    folder = place.path.rstrip("/")
    return same_host and (uri.path == folder or uri.path.startswith(f"{folder}/"))


def public(address: str) -> bool:
    """Whether an IP address is one of the internet's: not private, local or multicast, also inside of an
    IPv6 address that carries an IPv4 one."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return public(str(inner))
    return ip.is_global and not ip.is_multicast
