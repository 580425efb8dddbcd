"""The table of field failures: what Apple's service, or the way to it, was seen to do to a client.

S1 to S37, in five groups: start-up and concurrency, authentication, GOAWAY and the end of connections, silence, errors
and overload. Some need no rule: the judge does them unasked, or it is the client's own state that makes the failure.
"""

from typing import Final

import msgspec

from loadtest.simulator.actions import (
    Answer,
    BlackHole,
    Close,
    Delay,
    GoAway,
    Judge,
    LimitStreams,
    ResetStream,
    Silence,
    StopReading,
    WithholdWindow,
)
from loadtest.simulator.script import Match, Rule
from loadtest.simulator.world import Accept


class Scenario(msgspec.Struct, frozen=True):
    """`does` says in one sentence what the server does; `accept` what becomes of new connections meanwhile."""

    name: str
    does: str
    rules: tuple[Rule, ...] = ()
    accept: Accept = "serve"


_OLD: Final = Match(old=True)
_DEAD: Final = Match(token_prefix="dead")
_BEEF: Final = Match(token_prefix="beef")
# answers of the batch go out before what follows
_SAID: Final = Delay(delay_s=0.0)


def _answers(reason: str, match: Match = _OLD) -> Rule:
    return Rule(match=match, then=(Answer(reason=reason),))


_START_UP: Final = {
    "S1": Scenario(
        "one stream opening",
        "allows one stream until it has accepted a push on the connection, then a thousand, and refuses the excess",
    ),
    "S2": Scenario(
        "first push rejected",
        "rejects the first three pushes of each connection, on which one stream is allowed until one is accepted",
        tuple(Rule(match=Match(nth=nth), then=(Answer(reason="BadDeviceToken"),)) for nth in (1, 2, 3)),
    ),
    "S3": Scenario(
        "stream limit collapses",
        "lowers the limit to one stream in the middle of a burst, refusing what is above it, and raises it again",
        (
            Rule(
                match=_OLD,
                skip=20,
                times=1,
                then=(LimitStreams(streams=1), Delay(delay_s=0.3), LimitStreams(streams=1000)),
            ),
        ),
    ),
    "S4": Scenario(
        "no streams for a while",
        "allows no stream at all for a second, though the connection is well",
        (
            Rule(
                match=_OLD,
                skip=20,
                times=1,
                then=(Judge(), LimitStreams(streams=0), Delay(delay_s=1.0), LimitStreams(streams=1000)),
            ),
        ),
    ),
    "S5": Scenario(
        "goaway for too many streams",
        "ends the connection with GOAWAY(REFUSED_STREAM), as if the client had opened more streams than allowed",
        (
            Rule(
                match=_OLD,
                skip=20,
                times=1,
                then=(
                    GoAway(code="REFUSED_STREAM", debug="Maximum active streams violated for this endpoint."),
                    Delay(delay_s=0.3),
                    Judge(),
                    Close(),
                ),
            ),
        ),
    ),
    "S6": Scenario(
        "many streams allowed",
        "allows a thousand streams and takes a while to answer, so that a lower limit of the client's own shows",
        (Rule(then=(Delay(delay_s=0.3), Judge())),),
    ),
}

_AUTHENTICATION: Final = {
    "S7": Scenario(
        "expired token",
        "takes the provider token for expired: that connection has one stream and refuses everything from then on",
        (Rule(match=_OLD, then=(Answer(reason="ExpiredProviderToken"), LimitStreams(streams=1))),),
    ),
    "S8": Scenario(
        "token changed too soon",
        "answers 429 to a connection that changes its provider token within twenty minutes",
    ),
    "S9": Scenario(
        "too many token updates, then silence",
        "answers TooManyProviderTokenUpdates to three pushes of the connection and then nothing any more",
        (
            Rule(match=_OLD, times=3, then=(Answer(reason="TooManyProviderTokenUpdates"),)),
            Rule(match=_OLD, then=(Silence(),)),
        ),
    ),
    "S10": Scenario(
        "a hundred expired at once",
        "answers ExpiredProviderToken to everything that is under way on the connection",
        (_answers("ExpiredProviderToken"),),
    ),
    "S11": Scenario("two teams", "refuses the second team of a connection with InvalidProviderToken"),
    "S12": Scenario(
        "unrelated key",
        "answers UnrelatedKeyIdInToken on the old connection, as when the key was changed under it",
        (_answers("UnrelatedKeyIdInToken"),),
    ),
    "S13": Scenario(
        "key revoked",
        "answers InvalidProviderToken to every push, on whatever connection",
        (_answers("InvalidProviderToken", Match()),),
    ),
}

_GOAWAY: Final = {
    "S14": Scenario(
        "graceful goaway",
        "says GOAWAY in the middle of a burst, answers what it took up to there, and keeps the connection open",
        (
            Rule(match=_OLD, skip=20, times=1, then=(GoAway(debug={"reason": "Shutdown"}), Judge())),
            Rule(match=_OLD, then=(Delay(delay_s=0.3), Judge())),
        ),
    ),
    "S15": Scenario(
        "goaway without an end",
        "says GOAWAY behind an answer, while nothing else is under way, and never closes the connection",
        (Rule(match=_OLD, times=1, then=(Judge(), GoAway())),),
    ),
    "S16": Scenario(
        "two goaways",
        "says GOAWAY and a little later another with a lower last stream id, which disowns ten more requests",
        (
            Rule(
                match=_OLD,
                skip=20,
                times=1,
                then=(GoAway(), Delay(delay_s=0.1), GoAway(last_stream_offset=-10), Silence()),
            ),
            Rule(match=_OLD, skip=11, times=9, then=(Silence(),)),
        ),
    ),
    "S17": Scenario(
        "fatal goaway at connect",
        "says GOAWAY(NO_ERROR) with a fatal reason behind its SETTINGS and hangs up, on every connection",
        (Rule(at="connect", then=(GoAway(debug={"reason": "BadCertificateEnvironment"}), Close())),),
    ),
    "S18": Scenario(
        "reset with pushes in flight",
        "takes ten pushes without answering them and resets the TCP connection, without a GOAWAY",
        (
            Rule(match=_OLD, times=10, then=(Silence(judged=True),)),
            Rule(match=_OLD, times=1, then=(Close(abort=True),)),
        ),
    ),
    "S19": Scenario(
        "dies with pushes queued",
        "allows five streams, answers none of them and hangs up, while the client has many more pushes waiting",
        (
            Rule(match=_OLD, times=1, then=(LimitStreams(streams=5), Judge())),
            Rule(match=_OLD, skip=4, times=1, then=(Close(),)),
            Rule(match=_OLD, then=(Silence(),)),
        ),
    ),
}

_SILENCE: Final = {
    "S20": Scenario(
        "black hole",
        "neither reads nor says anything any more, while the TCP connection stays up",
        (Rule(match=_OLD, then=(BlackHole(),)),),
    ),
    "S21": Scenario(
        "full send buffer",
        "reads nothing any more but goes on to send PINGs, so that the client's writes come to a stop",
        (Rule(match=_OLD, then=(StopReading(ping_every_s=0.5), Silence())),),
    ),
    "S22": Scenario(
        "one push never answered",
        "never answers one of its pushes, and all others as ever",
        (Rule(match=_OLD, skip=1, times=1, then=(Silence(),)),),
    ),
    "S23": Scenario(
        "handshake stalls", "accepts TCP connections and says nothing: TLS never begins", accept="stall"
    ),
    "S24": Scenario(
        "forgotten while idle",
        "hears nothing of what is sent after a time of idleness, as when a NAT has forgotten the connection",
        (Rule(match=_OLD, then=(BlackHole(),)),),
    ),
    "S25": Scenario(
        "closed as a push was written",
        "says GOAWAY for idleness and hangs up, without having looked at the push that was just written",
        (
            Rule(
                match=_OLD,
                times=1,
                then=(GoAway(last_stream_offset=-1, debug={"reason": "IdleTimeout"}), _SAID, Close()),
            ),
        ),
    ),
}

_ERRORS: Final = {
    "S26": Scenario(
        "a third bad tokens",
        "refuses a third of the pushes with BadDeviceToken, allows one stream for a while now and then, and "
        "ends a connection after some of them",
        (
            Rule(
                match=Match(nth=100),
                then=(Answer(reason="BadDeviceToken"), _SAID, GoAway(), _SAID, Close()),
            ),
            Rule(
                match=Match(share=0.02),
                then=(
                    Answer(reason="BadDeviceToken"),
                    LimitStreams(streams=1, keep_open=True),
                    Delay(delay_s=0.05),
                    LimitStreams(streams=1000),
                ),
            ),
            _answers("BadDeviceToken", Match(share=0.3)),
        ),
    ),
    "S27": Scenario(
        "unregistered with a time",
        "answers 410 with a time of long ago for tokens that begin with dead, of the far future with beef",
        (
            Rule(match=_DEAD, then=(Answer(reason="Unregistered", timestamp_ms=1_000_000_000_000),)),
            Rule(match=_BEEF, then=(Answer(reason="Unregistered", timestamp_ms=4_000_000_000_000),)),
        ),
    ),
    "S28": Scenario(
        "too many requests for a device",
        "answers TooManyRequests for tokens that begin with dead",
        (_answers("TooManyRequests", _DEAD),),
    ),
    "S29": Scenario("unavailable", "answers 503 to everything", (_answers("ServiceUnavailable", Match()),)),
    "S30": Scenario(
        "one connection broken",
        "answers 500 to every push of one connection",
        (_answers("InternalServerError"),),
    ),
    "S31": Scenario(
        "slow", "takes five seconds for each answer", (Rule(then=(Delay(delay_s=5.0), Judge())),)
    ),
    "S32": Scenario("refused", "refuses every new connection", accept="refuse"),
    "S33": Scenario(
        "window withheld",
        "returns no window of the connection for a second",
        (Rule(match=_OLD, times=1, then=(WithholdWindow(for_s=1.0), Judge())),),
    ),
    "S34": Scenario(
        "streams run out",
        "refuses every stream of a connection after its first fifty, as when their ids have run out",
        (Rule(match=_OLD, skip=50, then=(ResetStream(),)),),
    ),
    "S35": Scenario(
        "odd bodies",
        "refuses pushes with a body in two frames, without a body, and with one that is not JSON, in turn",
        (
            Rule(match=_DEAD, times=1, then=(Answer(reason="BadDeviceToken", data_frames=2),)),
            Rule(match=_DEAD, times=1, then=(Answer(status=400, body=""),)),
            Rule(match=_DEAD, times=1, then=(Answer(status=400, body="<html>"),)),
        ),
    ),
    "S36": Scenario(
        "no apns-id",
        "accepts pushes without naming their apns-id for tokens that begin with dead, and in upper case for others",
        (
            Rule(match=_DEAD, then=(Answer(status=200, apns_id="absent"),)),
            Rule(then=(Answer(status=200, apns_id="upper"),)),
        ),
    ),
    "S37": Scenario(
        "one push a connection",
        "hangs up on every connection after the first push that it has accepted on it",
        (Rule(then=(Judge(), _SAID, Close())),),
    ),
}

SCENARIOS: Final[dict[str, Scenario]] = {
    **_START_UP,
    **_AUTHENTICATION,
    **_GOAWAY,
    **_SILENCE,
    **_ERRORS,
}
