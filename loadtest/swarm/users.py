"""The tenants as Locust's users: each pushes, reads every word of the answer, and waits when it is told to wait.

A user waits for its answer before it sends again (a closed loop), so a gateway that is slow is asked less. Times of a
load that does not wait are what the benches measure.
"""

import time
from functools import cache
from io import FileIO
from itertools import count, cycle
from random import random
from typing import Any, Final

import msgspec
from locust import FastHttpUser, task
from locust.contrib.fasthttp import ResponseContextManager
from locust.user.task import LOCUST_STATE_STOPPING, LOCUST_STATE_WAITING

from loadtest.bench.lab import device_token, payload
from loadtest.swarm.answers import Answer, Finding, read_batch, read_single
from loadtest.swarm.options import Tenant
from loadtest.swarm.tally import Tally

SINGLE: Final = "/v1/push"
BATCH: Final = "/v1/push/batch"
# made once for each tenant and size, so that Locust's CPU goes into requests; different devices, for all its shards
BODIES: Final = 16
# nobody is held off for longer, since a user that sleeps can't be stopped gently
HOLD_OFF_MOST_S: Final = 5
ANSWER_S: Final = 20.0
CONNECT_S: Final = 5.0


class Desk:
    """What the users of one process share: the tenants, the tally, and the log of what was sent, if one is kept."""

    def __init__(self) -> None:
        self.tenants: list[Tenant] = []
        self.tally = Tally()
        self.log: FileIO | None = None
        self._numbers = count()

    def next_tenant(self) -> Tenant:
        """In turn."""
        return self.tenants[next(self._numbers) % len(self.tenants)]

    def note(self, finding: Finding, pushes: int, begun_s: float) -> None:
        """The fates of one request's pushes, begun at that Unix time."""
        self.tally.add(finding, pushes)
        if self.log is not None:
            records = map(msgspec.msgpack.encode, finding.exchanges(begun_s, time.time()))
            # one write, so that processes that share the file do not get in between
            self.log.write(b"".join(len(each).to_bytes(4) + each for each in records))


DESK: Final = Desk()


class PushingUser(FastHttpUser):
    """Pushes for one tenant. What each request is, the classes below say."""

    abstract = True
    network_timeout = ANSWER_S
    connection_timeout = CONNECT_S
    _state: str

    def on_start(self) -> None:
        options = self.environment.parsed_options
        self._tenant = DESK.next_tenant()
        self._batch = int(options.batch)
        self._sizes = (self._tenant.topic, int(options.payload_bytes))
        self._every_s = 1 / options.each_per_s if options.each_per_s else 0.0
        # users that come together do not keep in step
        self._next_s = time.monotonic() - random() * self._every_s
        self._hold_off_s = 0
        self._headers = {
            "Authorization": f"Bearer {self._tenant.api_key}",
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
        }

    def wait_time(self) -> float:
        """Until the next request is due, or until the tenant may try again; one that is late is not made up for."""
        now_s = time.monotonic()
        self._next_s = max(now_s, self._next_s + self._every_s)
        return max(self._next_s - now_s, float(min(self._hold_off_s, HOLD_OFF_MOST_S)))

    def stop(self, force: bool = False) -> bool:
        """As Locust does it, but for a user whose wait ends at this very moment: it would be killed in the middle of
        the request that it then begins, and nobody would know what became of the pushes."""
        if self._state == LOCUST_STATE_WAITING:
            self._state = LOCUST_STATE_STOPPING
            self.group.killone(self.greenlet)
            return True
        return bool(super().stop(force))

    def push_one(self, lane: str) -> None:
        """A single push."""
        self._post(SINGLE, next(_bodies(*self._sizes, lane, 0)), 1)

    def push_batch(self, lane: str) -> None:
        """A batch."""
        self._post(BATCH, next(_bodies(*self._sizes, lane, self._batch)), self._batch)

    def _post(self, path: str, body: bytes, pushes: int) -> None:
        begun_s = time.time()
        # of a user that is stopped in the middle nobody will know
        finding = Finding(in_doubt=pushes)
        try:
            with self.client.post(
                path, data=body, headers=self._headers, catch_response=True, allow_redirects=False
            ) as response:
                answer = _answer(response)
                finding = read_single(answer) if path == SINGLE else read_batch(answer, pushes)
                if finding.failure:
                    response.failure(finding.failure)
                else:
                    if finding.back_pressure:
                        # apart in the statistics, so that quick refusals do not make the others look quick
                        response.request_meta["name"] = f"{path} held back: {finding.back_pressure}"
                    response.success()
        finally:
            self._hold_off_s = finding.retry_after_s
            DESK.note(finding, pushes, begun_s)


class SinglePushTenant(PushingUser):
    """Sends each push by itself, as an app's backend does when something has happened."""

    @task
    def push(self) -> None:
        self.push_one("high")


class BatchTenant(PushingUser):
    """Sends batches in the low lane, as a campaign does."""

    @task
    def push(self) -> None:
        self.push_batch("low")


class MixedTenant(PushingUser):
    """Sends single pushes, and now and then a batch between them."""

    @task(9)
    def push(self) -> None:
        self.push_one("high")

    @task(1)
    def campaign(self) -> None:
        self.push_batch("low")


def _answer(response: ResponseContextManager) -> Answer:
    if not response.status_code:
        return Answer(0, lost=type(getattr(response, "error", None)).__name__)
    headers: Any = response.headers or {}
    return Answer(
        response.status_code,
        response.content or b"",
        headers.get("Content-Type", ""),
        headers.get("Retry-After", ""),
    )


@cache
def _bodies(topic: str, payload_bytes: int, lane: str, batch: int) -> "cycle[bytes]":
    """Without an end; ``batch`` 0 is for single pushes."""
    return cycle([_body(topic, payload_bytes, lane, batch) for _ in range(BODIES)])


def _body(topic: str, payload_bytes: int, lane: str, batch: int) -> bytes:
    items = [
        b'{"device_token":"%b","topic":"%b","lane":"%b","payload":%b}'
        % (device_token(), topic.encode(), lane.encode(), payload(payload_bytes))
        for _ in range(batch or 1)
    ]
    return b"[%b]" % b",".join(items) if batch else items[0]
