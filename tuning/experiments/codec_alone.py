"""Experiments 0006 and 0010: what a push costs in the codec alone, from request to frames and from answer to outcome.

    python -m tuning.experiments.codec_alone

No socket, no TLS, no event loop: the answers are made beforehand. CPU µs per push, the median of the rounds.
"""

import statistics
import time
from typing import Final

from engine.http2 import connection, frames
from engine.http2.header_encoder import Profile
from engine.http2.request_writer import Request
from loadtest.bench.lab import payload
from tuning.experiments.h2_as_client import SHARED

BATCH: Final = 500
BATCHES: Final = 100
ROUNDS: Final = 9
BODY: Final = payload(256)
PATH: Final = b"/3/device/" + b"ab" * 32
APNS_ID: Final = b"01234567-89ab-7cde-8f01-23456789abcd"
# :status 200, and an apns-id as nginx gives it back
ANSWER: Final = b"\x88\x0f\x2b\x01x"


def main() -> None:
    profile = Profile(SHARED, b"apns-id")
    batch = [Request(True, profile, PATH, APNS_ID, (), BODY)] * BATCH
    spent: dict[str, list[float]] = {"send": [], "receive": [], "receive, each reset": []}
    for _ in range(ROUNDS):
        for what, behind in (("receive", False), ("receive, each reset", True)):
            send_s, receive_s = _round(batch, behind)
            spent["send"].append(1e6 * send_s / (BATCH * BATCHES))
            spent[what].append(1e6 * receive_s / (BATCH * BATCHES))
    print(connection.__file__)
    print({half: round(statistics.median(each), 3) for half, each in spent.items()})


def _round(batch: list[Request], resets: bool) -> tuple[float, float]:
    """CPU seconds to send all batches, and to read their answers; ``resets``: behind each answer, as nginx has it."""
    flags = frames.END_STREAM | frames.END_HEADERS
    client = connection.Connection()
    settings = frames.settings({0x3: BATCH}) + frames.frame(frames.SETTINGS, frames.ACK, 0)
    client.receive(settings + frames.window_update(0, 2**30))
    send_s = receive_s = 0.0
    for at in range(BATCHES):
        first = 2 * BATCH * at + 1
        answers = b"".join(
            frames.frame(frames.HEADERS, flags, stream_id, ANSWER)
            + (frames.reset(stream_id, 0) if resets else b"")
            for stream_id in range(first, first + 2 * BATCH, 2)
        )
        began_s = time.process_time()
        taken = client.send(batch)
        client.take_output()
        sent_s = time.process_time()
        accepted = len(client.receive(answers).accepted)
        send_s, receive_s = send_s + sent_s - began_s, receive_s + time.process_time() - sent_s
        if (taken, accepted) != (BATCH, BATCH):
            raise RuntimeError(f"of {BATCH} requests {taken} were sent and {accepted} answered")
    return send_s, receive_s


if __name__ == "__main__":
    main()
