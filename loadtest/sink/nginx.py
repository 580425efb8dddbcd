"""nginx as the sink: an HTTP/2 server of another make, in C, that answers 200 to every push.

Everything it writes stays in the directory that it was given: configuration, logs, pid file, temporary
paths. It runs in the foreground as a child of the caller, with a master and its workers, and is stopped by
the process id of that master, so an nginx that belongs to the machine is never touched.

Three habits of nginx that a client under test must bear:
* `return 200` answers as soon as the headers are there, each answer in a TLS record of its own, and while
  the body is still to be read it adds RST_STREAM(NO_ERROR), as RFC 9113 section 8.1 allows. With 1.22 that
  is one per push. Having the body read first (a mirrored request in front of a static file) cost 67
  microseconds a push instead of 3.5, and then each stream's window is returned: no better.
* It takes a connection for a flood, and ends it with GOAWAY(NO_ERROR), when an eighth of the bytes that came
  is a megabyte more than what it has made use of, and bodies that it answers before it reads them are none.
  With payloads of 1,024 bytes that never comes, with 1,500 after some ten thousand pushes.
* It has no separate limit for idle HTTP/2 connections since 1.19.7; `keepalive_timeout` is the one limit.
"""

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Literal

from loadtest.simulator.authority import Authority, ensure_authority

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
POLL_S = 0.02
# A free port is found by binding it and letting it go; someone else may take it in between.
START_ATTEMPTS = 3

_CONFIG = """\
daemon off;
worker_processes {workers};
worker_rlimit_nofile 8192;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
{user}
events {{
    worker_connections 4096;
}}
http {{
    {log}
    server_tokens off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_max_body_size 1m;
    keepalive_timeout 1d;
    keepalive_requests 1000000000;
    {limits}
    http2_max_concurrent_streams {streams};
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    server {{
        listen 127.0.0.1:{port} ssl{listen_http2} backlog=1024;
        {http2_on}
        location /3/device/ {{
            {echo}
            return 200;
        }}
        location / {{
            return 404;
        }}
    }}
    server {{
        listen 127.0.0.1:{status_port};
        access_log off;
        location = /status {{
            stub_status;
        }}
    }}
}}
"""


# time (Unix seconds, to the millisecond) at which nginx was done with the push, its connection and its id; written out
# a second later at most
_RECORD = """log_format push '$msec $connection $http_apns_id';
    access_log {directory}/pushes.log push buffer=256k flush=1s;"""

# as APNs does; for clients that cannot do without
_ECHO = "add_header apns-id $http_apns_id;"


def find_nginx() -> Path | None:
    """The nginx of this machine, if it has one; Debian keeps it where PATH of a user does not look."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    return Path(found) if found else None


class NginxSink:
    """A running nginx that says yes. OSError from the constructor, with nginx's own words, if it cannot run."""

    kind: Literal["nginx", "python"] = "nginx"
    host = "127.0.0.1"

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        streams: int = 1000,
        workers: int = 1,
        record: bool = False,
        echo_ids: bool = False,
    ) -> None:
        binary = find_nginx()
        if binary is None:
            raise FileNotFoundError("no nginx on this machine: install it, or use the Python sink")
        self._binary = binary
        self._directory = directory.resolve()
        self._directory.mkdir(parents=True, exist_ok=True)
        self._version = _version(binary)
        authority = ensure_authority(self._directory / "tls")
        self.ca_file = authority.ca_file
        self.record = self._directory / "pushes.log"
        self._log = _RECORD.format(directory=self._directory) if record else "access_log off;"
        self._echo = _ECHO if echo_ids else ""
        self._polls = 0
        self._last_pushes = 0
        for attempt in range(1, START_ATTEMPTS + 1):
            self.port, self._status_port = port or _free_port(), _free_port()
            self._write_config(authority, streams, workers)
            self._process = self._launch()
            if self._accepts(workers):
                return
            self.stop()
            if port or attempt == START_ATTEMPTS:
                raise OSError(f"nginx does not start: {self._error_log()}")

    def __repr__(self) -> str:
        return f"<NginxSink port={self.port} pid={self._process.pid} running={self._process.poll() is None}>"

    @property
    def pids(self) -> list[int]:
        """The master and its workers: the processes whose CPU time is the sink's."""
        return [self._process.pid, *_children(self._process.pid)]

    def pushes(self) -> int:
        """How many pushes it has answered; after the end, how many when it was stopped.

        stub_status counts every request, this question among them, so its own are subtracted.
        """
        if self._process.poll() is None:
            self._last_pushes = self._count(2) - self._polls
        return self._last_pushes

    def connections(self) -> int:
        """How many connections it has accepted so far; those of its status page are subtracted."""
        return self._count(0) - self._polls

    def stop(self) -> None:
        """End master and workers at once; the count can still be read. Idempotent."""
        if self._process.poll() is None:
            # It may not even have come to listening.
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.pushes()
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def __enter__(self) -> "NginxSink":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _write_config(self, authority: Authority, streams: int, workers: int) -> None:
        # The directive `http2 on` came with 1.25.1, which deprecated the parameter of `listen`; a
        # connection's age and number of HTTP/2 requests had limits of their own that came and went.
        has_directive = self._version >= (1, 25, 1)
        limits = []
        if self._version >= (1, 19, 10):
            limits.append("keepalive_time 30d;")
        if self._version < (1, 19, 7):
            limits.append("http2_max_requests 1000000000; http2_idle_timeout 1d; http2_recv_timeout 1d;")
        config = _CONFIG.format(
            directory=self._directory,
            log=self._log,
            echo=self._echo,
            workers=workers,
            # As root, workers would become `nobody` and could not write below the directory.
            user="user root;" if os.getuid() == 0 else "",
            limits=" ".join(limits),
            streams=streams,
            certificate=authority.certificate_file,
            key=authority.key_file,
            port=self.port,
            status_port=self._status_port,
            listen_http2="" if has_directive else " http2",
            http2_on="http2 on;" if has_directive else "",
        )
        (self._directory / "nginx.conf").write_text(config)

    def _launch(self) -> subprocess.Popen[bytes]:
        command = [str(self._binary), "-p", str(self._directory), "-c", str(self._directory / "nginx.conf")]
        # -e since 1.19.5: without it nginx opens the log that it was built with before it reads the file.
        if self._version >= (1, 19, 5):
            command += ["-e", str(self._directory / "error.log")]
        with (self._directory / "stderr.log").open("wb") as complaints:
            return subprocess.Popen(command, stdout=complaints, stderr=complaints)

    def _accepts(self, workers: int) -> bool:
        """Wait until it answers, with all of its workers; False if it ends, or takes too long."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s and self._process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._count(2)
                if len(self.pids) > workers:
                    return True
            time.sleep(POLL_S)
        return False

    def _count(self, place: int) -> int:
        """Of what the status page counts: connections accepted, connections handled, requests."""
        connection = http.client.HTTPConnection(self.host, self._status_port, timeout=STOP_TIMEOUT_S)
        try:
            connection.request("GET", "/status")
            page = connection.getresponse().read()
        finally:
            connection.close()
        self._polls += 1
        counts = re.search(rb"requests\s+(\d+) (\d+) (\d+)", page)
        if counts is None:
            raise OSError(f"not a status page of nginx: {page[:80]!r}")
        return int(counts[place + 1])

    def _error_log(self) -> str:
        logs = [self._directory / name for name in ("error.log", "stderr.log")]
        return " ".join(log.read_text().strip() for log in logs if log.exists())[-500:]


def _version(binary: Path) -> tuple[int, ...]:
    shown = subprocess.run([str(binary), "-v"], capture_output=True, text=True, check=True).stderr
    numbers = re.search(r"/(\d+)\.(\d+)\.(\d+)", shown)
    if numbers is None:
        raise OSError(f"{binary} does not tell its version: {shown!r}")
    return tuple(int(number) for number in numbers.groups())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]
