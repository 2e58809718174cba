"""Certificates of a made authority, and a chat server on loopback that shows one."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from helpers.patience import patience

REPLY = {
    "model": "m",
    "choices": [{"message": {"content": "An answer."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


def write_certificates(folder: Path) -> dict[str, str]:
    """Write an authority and a certificate of 127.0.0.1 by it; return the paths of ``ca``, ``cert`` and ``key``."""
    now, key, ca_key = datetime.now(UTC), *(ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])

    def build(subject: x509.Name, public: Any) -> x509.CertificateBuilder:
        begun = x509.CertificateBuilder().subject_name(subject).issuer_name(ca_name).public_key(public)
        numbered = begun.serial_number(x509.random_serial_number())
        return numbered.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))

    limits = x509.BasicConstraints(ca=True, path_length=0)
    ca = build(ca_name, ca_key.public_key()).add_extension(limits, critical=True)
    host = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    own = build(x509.Name([]), key.public_key()).add_extension(host, critical=True)
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    written = {
        "ca": ca.sign(ca_key, hashes.SHA256()).public_bytes(pem),
        "cert": own.sign(ca_key, hashes.SHA256()).public_bytes(pem),
        "key": key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain),
    }
    for part, data in written.items():
        (folder / f"{part}.pem").write_bytes(data)
    return {part: str(folder / f"{part}.pem") for part in written}


@dataclass
class Gateway:
    """A chat server behind TLS, which remembers what it was asked."""

    base_url: str = ""
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Path with query, and headers, of each request."""

    async def handle(self, request: web.Request) -> web.Response:
        """Answer a chat."""
        self.requests.append((request.path_qs, dict(request.headers)))
        return web.json_response(REPLY)


@contextmanager
def gateway(files: dict[str, str]) -> Iterator[Gateway]:
    """Serve chats over TLS with a certificate."""
    server, loop = Gateway(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def on_loop(coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, loop).result(patience(10))

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["cert"], files["key"])
    with ExitStack() as stack:
        stack.callback(loop.close)
        stack.callback(thread.join, patience(10))
        stack.callback(lambda: loop.call_soon_threadsafe(loop.stop))
        on_loop(runner.setup())
        stack.callback(lambda: on_loop(runner.cleanup()))
        on_loop(web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start())
        server.base_url = f"https://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield server
