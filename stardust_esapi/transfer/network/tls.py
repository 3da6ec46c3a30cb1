"""TLS for associations, both ways: each side shows a certificate that the site's CA signed.

Peers are told by the CA and by AE title, not by host name: certificates of DICOM nodes seldom
carry one that fits (PS3.15 B.9 to B.12 leave that to the site).
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

from stardust_esapi.errors import UsageError
from stardust_esapi.settings import Tls


def client_context(tls: Tls) -> ssl.SSLContext:
    """The context of associations that we request.

    Raises:
        UsageError: A certificate, key or CA cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    return _load(context, tls)


def server_context(tls: Tls, timeout: float) -> ssl.SSLContext:
    """The context of associations that the peer requests of us.

    Args:
        tls: The certificates.
        timeout: Seconds a client may take over each step of its handshake.

    Raises:
        UsageError: A certificate, key or CA cannot be read.
    """
    context = _PatientContext(ssl.PROTOCOL_TLS_SERVER)
    context.timeout = timeout
    return _load(context, tls)


class _PatientContext(ssl.SSLContext):
    """Leaves the handshake to the association's own thread, and bounds it in time.

    pynetdicom wraps a socket where it accepts connections: one silent client would keep out all
    others for good.
    """

    timeout: float

    def wrap_socket(self, sock: socket.socket, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        sock.settimeout(self.timeout)
        kwargs["do_handshake_on_connect"] = False
        return super().wrap_socket(sock, *args, **kwargs)


def _load(context: ssl.SSLContext, tls: Tls) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=_no_password)
        context.load_verify_locations(tls.ca)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise UsageError(
            f"The TLS certificates (certificate {tls.certificate}, key {tls.key}, CA {tls.ca}) "
            f"cannot be used: {error}. Check network.tls: PEM files, a key without a password that "
            "belongs to the certificate."
        ) from None
    return context


def _no_password() -> str:
    """Instead of OpenSSL's question on the terminal, which an unattended run cannot answer."""
    raise ValueError("the key is protected by a password")
