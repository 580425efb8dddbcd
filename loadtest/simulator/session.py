"""One connection as Apple keeps it: what it is asked, what it decides, what a script makes of it. No IO.

Theory. Bytes come in through `receive` and go out through `take`; `later` is the only way to the clock: it
asks the shell to call back. Everything received at once is one batch and is handled in two passes: all its
frames first, then all its complete requests in order. So a client that opens two streams where one is
allowed is caught even when both arrive in one read, and the answers of a batch leave in one write.

Decide, then say. A push is judged (or a script decides for the judge) and entered in the ledger when it
is complete; only then is anything said, at once or later. The connection can die in between: the ledger
has what Apple would know, the client has what it heard.
"""

from collections.abc import Callable, Iterator
from typing import Literal, assert_never

import h2.events
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from loadtest.simulator import actions
from loadtest.simulator.bearer import Bearer
from loadtest.simulator.binding import Binding
from loadtest.simulator.judge import DEVICE_PATH, Request, Verdict, apns_id, judge
from loadtest.simulator.ledger import NO_ANSWER, Sighting
from loadtest.simulator.line import Line, Stream
from loadtest.simulator.push_authority import PushCertificate
from loadtest.simulator.script import Facts, Rule
from loadtest.simulator.vocabulary import PAYLOAD_BYTES_MAX_VOIP
from loadtest.simulator.world import World

# Netty's text, which Apple's front end was seen to send (jchambers/pushy issue 356).
EXCESS_DEBUG = b"Maximum active streams violated for this endpoint."


class Session:
    """The server's side of one connection."""

    def __init__(
        self,
        world: World,
        number: int,
        later: Callable[[float, Callable[[], None]], None],
        certificate: PushCertificate | None = None,
    ) -> None:
        self.number = number
        self.binding = Binding(certificate)
        # What the shell must do once it has written what `take` returned.
        self.end: Literal["", "close", "abort", "black_hole"] = ""
        self.is_deaf = False
        self._world = world
        self._later = later
        # Apple holds a connection to one stream until a token was good; a certificate is good from the start.
        self._warm = certificate is not None
        self._line = Line(world.options.streams_max if self._warm else world.options.streams_first)
        self._requests = 0
        self._highest_decided = 0
        self._due: list[int] = []
        # The provider token and ledger of the last push, to name each token to each ledger only once.
        self._seen: tuple[bytes, int] = (b"", 0)
        self._shown_in = 0
        rule = world.script.for_connection(number)
        if rule is not None:
            self._perform(iter(rule.then), 0, None)

    def __repr__(self) -> str:
        end = f" {self.end}" if self.end else ""
        return f"<Session {self.number} requests={self._requests} {self._line!r} {self.binding!r}{end}>"

    def receive(self, received: bytes) -> None:
        """Take in one batch of bytes and act on it."""
        if self.end:
            return
        line = self._line
        try:
            events = line.engine.receive_data(received)
        except ProtocolError as error:
            # The engine has put a GOAWAY with the right code into its output.
            self._world.ledger.breached(f"{type(error).__name__}: {error}")
            self.end = "close"
            return
        for event in events:
            if isinstance(event, h2.events.RequestReceived):
                self._on_request(event)
            elif isinstance(event, h2.events.DataReceived):
                self._on_data(event)
            elif isinstance(event, h2.events.StreamEnded):
                self._on_end(event.stream_id)
            elif isinstance(event, h2.events.StreamReset):
                line.open.pop(event.stream_id, None)
            elif isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
                line.unblock()
        if self._due:
            self._decide_due()
        line.engine.sweep()

    def take(self) -> bytes:
        """The bytes to send, once."""
        return b"" if self.end == "black_hole" else self._line.take()

    def _on_request(self, event: h2.events.RequestReceived) -> None:
        line, stream_id = self._line, event.stream_id
        if stream_id > line.last_stream_id:
            return
        headers = dict(event.headers)
        stream = Stream(headers, repeats_header=len(headers) != len(event.headers))
        if len(line.open) < line.limit:
            line.open[stream_id] = stream
        elif self._world.options.excess_streams == "goaway":
            line.goaway(stream_id - 2, ErrorCodes.REFUSED_STREAM, EXCESS_DEBUG)
        else:
            line.open[stream_id] = stream
            line.reset(stream_id, ErrorCodes.REFUSED_STREAM)
            self._record_refused([(stream_id, stream)])

    def _on_data(self, event: h2.events.DataReceived) -> None:
        # The window is spent by every DATA frame, whatever became of its stream.
        self._line.use_window(event.flow_controlled_length)
        stream = self._line.open.get(event.stream_id)
        if stream is not None:
            stream.body_bytes += len(event.data)
            if stream.body_bytes > PAYLOAD_BYTES_MAX_VOIP:
                # Too long in any case; a client that waits for more of the stream's window is answered.
                self._on_end(event.stream_id, is_cut_short=True)

    def _on_end(self, stream_id: int, *, is_cut_short: bool = False) -> None:
        stream = self._line.open.get(stream_id)
        if stream is not None:
            stream.is_cut_short = is_cut_short
            if not stream.is_due:
                stream.is_due = True
                self._due.append(stream_id)

    def _decide_due(self) -> None:
        due, self._due = self._due, []
        now_s = self._world.clock()
        for stream_id in due:
            # A GOAWAY, a lower limit or the end of the connection, brought about by an earlier request
            # of this batch, may have disposed of this one.
            stream = self._line.open.get(stream_id)
            if stream is not None and not self.end:
                self._decide(stream_id, stream, now_s)

    def _decide(self, stream_id: int, stream: Stream, now_s: float) -> None:
        self._requests += 1
        self._highest_decided = max(self._highest_decided, stream_id)
        stream.apns_id = apns_id(stream.headers, self._world.new_id)
        stream.decided = True
        bearer = self._bearer(stream, now_s)
        request = Request(stream.headers, stream.repeats_header, stream.body_bytes, bearer)
        rule = self._rule(request, stream.apns_id) if self._world.script else None
        if rule is None:
            self._say(stream_id, stream, self._judge(stream_id, stream, request, now_s))
            return
        verdict_said: Verdict | None = None
        match rule.fate:
            case actions.Judge() | actions.Silence(judged=True):
                verdict_said = self._judge(stream_id, stream, request, now_s)
            case actions.Answer() as answer:
                verdict_said = Verdict(answer.status_code, answer.reason, answer.timestamp_ms)
                self._record(stream_id, stream, verdict_said.status, verdict_said.reason, now_s)
            case actions.ResetStream():
                self._record(stream_id, stream, NO_ANSWER, "reset_stream", now_s)
            case actions.Silence():
                self._record(stream_id, stream, NO_ANSWER, "silence", now_s)
            case None:
                self._record(stream_id, stream, NO_ANSWER, "connection_ended", now_s)
        self._perform(rule.steps(), stream_id, verdict_said)

    def _team(self, bearer: Bearer | None) -> str:
        """Who speaks: the certificate of the connection before any token."""
        certificate = self.binding.certificate
        if certificate is not None:
            return certificate.team_id
        return "" if bearer is None else bearer.team_id

    def _bearer(self, stream: Stream, now_s: float) -> Bearer | None:
        certificate, ledger = self.binding.certificate, self._world.ledger
        if certificate is not None and self._shown_in != ledger.epoch:
            self._shown_in = ledger.epoch
            ledger.shown(self.number, certificate.team_id)
        authorization = stream.headers.get(b"authorization")
        if authorization is None:
            return None
        bearer = self._world.bearers.read(authorization)
        seen = (bearer.fingerprint, ledger.epoch)
        if bearer.key_id and seen != self._seen:
            self._seen = seen
            token = Sighting(
                at_s=now_s,
                team=bearer.team_id,
                key_id=bearer.key_id,
                fingerprint=bearer.fingerprint,
                issued_at_s=bearer.issued_at_s,
            )
            ledger.seen(self.number, token)
        return bearer

    def _judge(self, stream_id: int, stream: Stream, request: Request, now_s: float) -> Verdict:
        verdict = judge(request, self._world.registry, self.binding, now_s)
        self._record(stream_id, stream, verdict.status, verdict.reason, now_s)
        return verdict

    def _rule(self, request: Request, message_id: str) -> Rule | None:
        headers, bearer = request.headers, request.bearer
        facts = Facts(
            connection=self.number,
            nth=self._requests,
            team=self._team(bearer),
            topic=headers.get(b"apns-topic", b"").decode("latin-1"),
            push_type=headers.get(b"apns-push-type", b"").decode("latin-1"),
            token=request.device_token.decode("latin-1"),
            apns_id=message_id,
            attempt=self._world.ledger.attempt_count(message_id) + 1,
            expiration=headers.get(b"apns-expiration", b"").decode("latin-1"),
        )
        return self._world.script.for_request(facts)

    def _record(self, stream_id: int, stream: Stream, status: int, reason: str, now_s: float) -> None:
        headers = stream.headers
        bearer = self._bearer(stream, now_s)
        self._world.ledger.record(
            stream.apns_id,
            at_s=now_s,
            connection=self.number,
            stream_id=stream_id,
            team=self._team(bearer),
            topic=headers.get(b"apns-topic", b"").decode("latin-1"),
            status=status,
            reason=reason,
            device_token=headers.get(b":path", b"")[len(DEVICE_PATH) :],
        )

    def _record_refused(self, refused: list[tuple[int, Stream]]) -> None:
        now_s = self._world.clock()
        for stream_id, stream in refused:
            stream.apns_id = apns_id(stream.headers, self._world.new_id)
            self._record(stream_id, stream, NO_ANSWER, ErrorCodes.REFUSED_STREAM.name, now_s)

    def _say(self, stream_id: int, stream: Stream, verdict: Verdict) -> None:
        """Apple's answer, and what Apple does to the connection with it."""
        line, body = self._line, verdict.body()
        is_cut_short = stream.is_cut_short and stream_id in line.open
        line.answer(stream_id, verdict.status, stream.apns_id, (body,) if body else ())
        if is_cut_short:
            # RFC 9113 section 8.1: an early answer may ask the client not to send the rest.
            line.engine.reset_stream(stream_id, ErrorCodes.NO_ERROR)
        self._warm_up(verdict)
        if self.binding.wedged and line.limit != 1:
            # Seen with the first expired provider token: jchambers/pushy issue 476.
            self._lower_limit(1)

    def _say_scripted(self, stream_id: int, stream: Stream, verdict: Verdict, shape: actions.Answer) -> None:
        body = verdict.body() if shape.body is None else shape.body.encode()
        if shape.apns_id == "absent":
            stream.apns_id = ""
        elif shape.apns_id == "upper":
            stream.apns_id = stream.apns_id.upper()
        half = len(body) // 2
        parts = (body[:half], body[half:]) if shape.data_frames == 2 else (body,) if body else ()
        self._line.answer(stream_id, verdict.status, stream.apns_id, parts, shape.headers.items())
        self._warm_up(verdict)

    def _warm_up(self, verdict: Verdict) -> None:
        """The first accepted push opens the connection to many streams."""
        if verdict.status == 200 and not self._warm:
            self._warm = True
            self._line.change_limit(self._world.options.streams_max)

    def _lower_limit(self, streams: int) -> None:
        self._line.change_limit(streams)
        self._record_refused(self._line.refuse_excess())

    def _perform(self, steps: Iterator[actions.Action], stream_id: int, verdict: Verdict | None) -> None:
        """Do what a rule says, in order. After a delay, the rest is done when the shell calls back."""
        line = self._line
        stream = line.open.get(stream_id)
        for step in steps:
            if self.end:
                return
            match step:
                case actions.Delay(delay_s=delay_s):
                    self._later(delay_s, lambda: self._perform(steps, stream_id, verdict))
                    return
                case actions.Judge() if stream is not None and verdict is not None:
                    self._say(stream_id, stream, verdict)
                case actions.Answer() if stream is not None and verdict is not None:
                    self._say_scripted(stream_id, stream, verdict, step)
                case actions.ResetStream(code=code):
                    line.reset(stream_id, actions.error_code(code))
                case actions.GoAway():
                    last_stream_id = self._highest_decided + 2 * step.last_stream_offset
                    line.goaway(last_stream_id, actions.error_code(step.code), step.debug_bytes())
                case actions.Close(abort=is_abort):
                    self.end = "abort" if is_abort else "close"
                case actions.BlackHole():
                    self.end = "black_hole"
                case actions.StopReading(ping_every_s=every_s):
                    self.is_deaf = True
                    self._ping_for_ever(every_s)
                case actions.LimitStreams(streams=streams, keep_open=True):
                    line.change_limit(streams)
                case actions.LimitStreams(streams=streams):
                    self._lower_limit(streams)
                case actions.WithholdWindow(for_s=for_s):
                    line.withhold_window()
                    if for_s is not None:
                        self._later(for_s, line.release_window)
                case actions.Silence() | actions.Judge() | actions.Answer():
                    # Silence is said by saying nothing; and nobody listens on a stream that is gone.
                    pass
                case _ as never:
                    assert_never(never)

    def _ping_for_ever(self, every_s: float) -> None:
        self._line.engine.ping(b"listened")
        self._later(every_s, lambda: self._ping_for_ever(every_s))
