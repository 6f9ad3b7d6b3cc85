"""Whom control's requests to strangers trust."""

import ssl

import httpx

from gateway.launch_errors import LaunchError


def trusted() -> ssl.SSLContext:
    """The certificate authorities that SSL_CERT_FILE (or SSL_CERT_DIR) names, otherwise the public ones. Proxies of the
    environment are not used. Raises LaunchError."""
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        raise LaunchError(
            f"The certificate authorities that SSL_CERT_FILE names cannot be read ({error.strerror or error}).",
            fix="Let it name a readable file in PEM, or unset it to trust the public ones.",
        ) from error
