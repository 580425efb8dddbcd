"""HTTP/2 servers that we did not write, each started for one test on a port of its own, with a certificate for it.

A server whose program is missing skips its test, except where CI is set: there it must not be missing.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

STARTS_WITHIN_S = 15.0
HERE = Path(__file__).parent


class TLSFiles(NamedTuple):
    """A certificate for localhost, which is its own authority, and its key (PKCS#8)."""

    certificate: Path
    key: Path


def tls_files(folder: Path) -> TLSFiles:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Clarion's tests")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = TLSFiles(folder / "certificate.pem", folder / "key.pem")
    files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files


def program(name: str) -> str:
    # a console script of this environment counts too, though the environment be not on the path
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        message = f"{name} is not installed"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(arguments: list[str], port: int, log: Path, folder: Path) -> Iterator[None]:
    """A server that is told its port, from when it takes connections until it is stopped."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=folder
        )
    try:
        end_s = time.monotonic() + STARTS_WITHIN_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end_s, log.read_text()
                time.sleep(0.02)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Nginx(NamedTuple):
    port: int
    log: Path

    def requests(self) -> list[list[str]]:
        """[status, apns-id, topic, path] of each request, once nginx has stopped."""
        return [line.split() for line in self.log.read_text().splitlines()]


@contextmanager
def nginx(folder: Path, tls: TLSFiles, *, requests_a_connection: int = 10**9) -> Iterator[Nginx]:
    """Says 200 to everything, except 400 with a body to a push to the device `bad`."""
    server = Nginx(free_port(), folder / "requests.log")
    configuration = folder / "nginx.conf"
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration.write_text(
        f"""
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    {temporary}
    log_format counted "$status $http_apns_id $http_apns_topic $request_uri";
    access_log {server.log} counted;
    keepalive_requests {requests_a_connection};
    server {{
        listen 127.0.0.1:{server.port} ssl http2;
        ssl_certificate {tls.certificate};
        ssl_certificate_key {tls.key};
        location / {{ return 200; }}
        location = /3/device/bad {{ default_type application/json; return 400 '{{"reason":"BadDeviceToken"}}'; }}
    }}
}}
"""
    )
    arguments = [
        program("nginx"),
        "-c",
        str(configuration),
        "-p",
        str(folder),
        "-e",
        str(folder / "error.log"),
    ]
    with running(arguments, server.port, folder / "nginx.log", folder):
        yield server


class Node:
    """Node's http2 module, which is nghttp2, in one of the modes of node_server.js."""

    def __init__(self, tls: TLSFiles, mode: str) -> None:
        self._process = subprocess.Popen(
            [program("node"), str(HERE / "node_server.js"), str(tls.certificate), str(tls.key), mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline() or 0)

    def stop(self) -> dict[str, Any]:
        """What it counted. It ends when its standard input does, so it outlives no test."""
        output, _ = self._process.communicate(timeout=10)
        counts: dict[str, Any] = json.loads(output)
        return counts


@contextmanager
def node(tls: TLSFiles, mode: str) -> Iterator[Node]:
    server = Node(tls, mode)
    try:
        yield server
    finally:
        server._process.kill()
        server._process.communicate()


@contextmanager
def granian(folder: Path, tls: TLSFiles) -> Iterator[int]:
    """Granian, which is hyper, with the application of granian_application.py; yields the port."""
    port = free_port()
    arguments = [program("granian"), "--interface", "asgi", "--http", "2", "--workers", "1"]
    arguments += ["--host", "127.0.0.1", "--port", str(port), "--no-ws"]
    arguments += ["--ssl-certificate", str(tls.certificate), "--ssl-keyfile", str(tls.key)]
    with running([*arguments, "granian_application:application"], port, folder / "granian.log", HERE):
        yield port
