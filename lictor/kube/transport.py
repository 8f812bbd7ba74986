"""Connections to the API server, as a configuration of the Kubernetes client describes them."""

import ssl
import sys
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from kubernetes_asyncio.client import Configuration

_READ_BYTES: Final = 1024 * 1024
"""Read ahead of each connection; larger events come in pieces."""

_LEAKS: Final = sys.version_info < (3, 12, 7)
"""CPython gh-118950: a TLS connection whose other side has gone silent is never closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A bounded number of connections, and what the kubeconfig says of the way there."""

    session: aiohttp.ClientSession
    options: dict[str, Any]

    async def close(self) -> None:
        """End all connections, also those that wait for the other side."""
        await self.session.close()


def open_pool(configuration: Configuration, *, connections: int) -> Pool:
    """Open nothing yet, but read the certificates.

    The client's own session is not used: it takes proxies and passwords from the environment and
    `~/.netrc`, so that a proxy meant for other traffic would see ours. One that the kubeconfig
    names (`proxy-url`) is used.

    Raises:
        OSError: the certificates cannot be read.
    """
    connector = aiohttp.TCPConnector(
        limit=connections, ssl=_context(configuration), enable_cleanup_closed=_LEAKS
    )
    return Pool(
        session=aiohttp.ClientSession(
            connector=connector, trust_env=False, read_bufsize=_READ_BYTES
        ),
        options={
            "proxy": configuration.proxy,
            "proxy_headers": configuration.proxy_headers,
            "server_hostname": configuration.tls_server_name,
        },
    )


def _context(configuration: Configuration) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
    if not configuration.verify_ssl:  # `insecure-skip-tls-verify` of the kubeconfig
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if configuration.disable_strict_ssl_verification:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
