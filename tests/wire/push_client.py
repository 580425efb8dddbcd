"""A client for tests of the servers in loadtest: the `h2` library over asyncio TLS, one connection.

It does what it is told, also what no good client does: it opens as many streams as it is asked to and
ignores the server's limits. What came back is in `answers`, `resets`, `limits`, `goaways` and
`window_updates`, in order of arrival.
"""

import asyncio
import json
import ssl
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import h2.events
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from h2.config import H2Configuration
from h2.connection import ConnectionInputs, ConnectionState, H2Connection
from h2.settings import SettingCodes, Settings

TOKEN = "ab" * 32
PAYLOAD = b'{"aps":{"alert":"hello"}}'
TOPIC = "com.example.app"
WAIT_S = 10.0


class Signer:
    """A team's signing key: mints provider tokens as a gateway does."""

    def __init__(self, team_id: str = "TEAM000001", key_id: str = "KEY0000001") -> None:
        self.team_id, self.key_id = team_id, key_id
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.public_key_pem = (
            self._key.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    def bearer(self, issued_at_s: float, *, is_der: bool = False, **replaced: object) -> str:
        """The value of an authorization header. `replaced` overrides members of header and claims."""
        header = {"alg": "ES256", "kid": self.key_id}
        claims = {"iss": self.team_id, "iat": int(issued_at_s)}
        for part in (header, claims):
            part.update({name: value for name, value in replaced.items() if name in part})  # type: ignore[misc]
        message = b".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
        signature = self._key.sign(message, ec.ECDSA(hashes.SHA256()))
        if not is_der:
            r, s = decode_dss_signature(signature)
            signature = r.to_bytes(32) + s.to_bytes(32)
        return (b"bearer " + message + b"." + _base64(signature)).decode()


class Answer:
    """One answer: status, headers and body."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.status = int(headers[":status"])
        self.headers = headers
        self.body = b""
        self.data_frames = 0
        self.ended_on_headers = False

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.body!r}>"

    @property
    def reason(self) -> str:
        return str(json.loads(self.body)["reason"]) if self.body else ""


class PushClient(asyncio.Protocol):
    """One HTTP/2 connection. `async with await PushClient.connect(port, ca_file) as client`."""

    def __init__(self) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        # h2 reads nothing more after a GOAWAY, but answers up to its last stream id are still to come.
        machine = self.h2.state_machine
        opened = ConnectionState.CLIENT_OPEN
        row = {(opened, ConnectionInputs.RECV_GOAWAY): (None, opened)}
        machine._transitions = {**machine._transitions, **row}
        self.answers: dict[int, Answer] = {}
        self.order: list[int] = []
        self.resets: list[tuple[int, int]] = []
        self.limits: list[int] = []
        self.goaways: list[tuple[int, int, bytes]] = []
        self.window_updates: list[int] = []
        self.pongs: list[bytes] = []
        self.is_lost = False
        self.authorization: str | None = None
        self._transport: asyncio.Transport | None = None
        self._changed = asyncio.Event()
        self._open: dict[int, Answer] = {}

    @classmethod
    async def connect(
        cls, port: int, ca_file: Path, settings: Mapping[SettingCodes, int] | None = None
    ) -> "PushClient":
        client = cls()
        client.h2.local_settings = Settings(client=True, initial_values=dict(settings or {}))
        context = ssl.create_default_context(cafile=str(ca_file))
        context.set_alpn_protocols(["h2"])
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: client, "127.0.0.1", port, ssl=context)
        return client

    async def __aenter__(self) -> "PushClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._transport is not None:
            self._transport.abort()
        await self.until(lambda: self.is_lost)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds, looking whenever bytes have arrived."""
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def open(
        self, *, token: str = TOKEN, body: bytes = PAYLOAD, end: bool = True, **headers: str | None
    ) -> int:
        """Put a push into the output. A header that is None is left out; `_` stands for `-`."""
        stream_id = self.h2.get_next_available_stream_id()
        fields: dict[str, str | None] = {
            ":method": "POST",
            ":scheme": "https",
            ":path": f"/3/device/{token}",
            ":authority": "localhost",
            "authorization": self.authorization,
            "apns-topic": TOPIC,
            "apns-id": str(uuid.uuid4()),
        }
        for name, value in headers.items():
            if name in ("method", "path"):
                fields[f":{name}"] = value
            else:
                fields[name.replace("_", "-")] = value
        sent = [(name, value) for name, value in fields.items() if value is not None]
        return self.open_raw(stream_id, sent, body, end=end)

    def open_raw(
        self, stream_id: int, fields: list[tuple[str, str]], body: bytes, *, end: bool = True
    ) -> int:
        # Past h2's own check of the limit: what happens above it is the server's to say.
        self.h2.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 2**31 - 1
        self.h2.remote_settings.acknowledge()
        self.h2.send_headers(stream_id, fields, end_stream=end and not body)
        if body:
            self.h2.send_data(stream_id, body, end_stream=end)
        return stream_id

    def flush(self) -> None:
        """Write everything opened so far in one write."""
        assert self._transport is not None
        self._transport.write(self.h2.data_to_send())

    async def push(self, **headers: Any) -> Answer:
        """One push and its answer."""
        stream_id = self.open(**headers)
        self.flush()
        await self.until(lambda: stream_id in self.answers)
        return self.answers[stream_id]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.h2.initiate_connection()
        self.flush()

    def data_received(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            self._on_event(event)
        if self._transport is not None:
            self._transport.write(self.h2.data_to_send())
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self._transport = None
        self._changed.set()

    def _on_event(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived():
                answer = Answer({str(name): str(value) for name, value in event.headers})
                answer.ended_on_headers = event.stream_ended is not None
                self._open[event.stream_id] = answer
            case h2.events.DataReceived():
                self._open[event.stream_id].body += event.data
                self._open[event.stream_id].data_frames += 1
            case h2.events.StreamEnded():
                self.answers[event.stream_id] = self._open.pop(event.stream_id)
                self.order.append(event.stream_id)
            case h2.events.StreamReset(remote_reset=True):
                self.resets.append((event.stream_id, int(event.error_code or 0)))
            case h2.events.RemoteSettingsChanged():
                changed = event.changed_settings.get(SettingCodes.MAX_CONCURRENT_STREAMS)
                if changed is not None:
                    self.limits.append(changed.new_value)
            case h2.events.ConnectionTerminated():
                self.goaways.append(
                    (event.last_stream_id or 0, int(event.error_code or 0), event.additional_data or b"")
                )
            case h2.events.PingAckReceived():
                self.pongs.append(event.ping_data or b"")
            case h2.events.WindowUpdated(stream_id=0):
                self.window_updates.append(event.delta)


def _base64(raw: bytes) -> bytes:
    return urlsafe_b64encode(raw).rstrip(b"=")
