"""When nothing is sent for a credential, or a topic of one, that APNs refuses until its tenant acts. Pure.

Whatever waits is spared: the pushes of a key that Apple has revoked would all be refused, and APNs closes
connections that bring too many errors. When a pause is over one push tries; if that is refused too, the next pause
is twice as long; one that is accepted ends the matter.

A hundred refusals of pushes that were under way together are one event: only what is refused while a push tries
makes another pause.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from engine.apns.headers import Held
from engine.policy.backoff import doubled_s

WHOLE: Final = ""  # in place of a topic: the credential with all its topics
# topics of one credential; beyond that the one that was refused first is let go, and may try again
TOPICS_MOST: Final = 1_000


class PauseOptions(NamedTuple):
    """The first pause of a series and the longest; how long the push that tries may take to be answered; and for
    how long those are put off that came while it tried."""

    first_s: float = 5.0
    most_s: float = 900.0
    try_s: float = 10.0
    behind_s: float = 1.0


class Pause(NamedTuple):
    """``strikes``: pauses in a row, this one included; ``trying``: one push has been let through since."""

    reason: str
    began_s: float
    until_s: float
    strikes: int = 1
    trying: bool = False


class Pauses:
    """The pauses of one pool, by topic. Times are monotonic seconds."""

    def __init__(self, options: PauseOptions) -> None:
        self._options = options
        self._by_topic: dict[str, Pause] = {}

    def __repr__(self) -> str:
        each = (
            f"{topic or 'all'} for {pause.reason} x{pause.strikes}" for topic, pause in self._by_topic.items()
        )
        return f"<Pauses {', '.join(each)}>"

    def __bool__(self) -> bool:
        return bool(self._by_topic)

    def __getitem__(self, topic: str) -> Pause:
        return self._by_topic[topic]

    def __contains__(self, topic: object) -> bool:
        return topic in self._by_topic

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._by_topic))

    def rests(self, now_s: float) -> bool:
        """Whether the whole credential sends nothing now, or nothing but the one push that tries."""
        pause = self._by_topic.get(WHOLE)
        return pause is not None and now_s < pause.until_s

    def refused(self, topic: str, reason: str, now_s: float) -> Pause | None:
        """APNs refused a push. Returns the pause that begins with it, or None when it belongs to one that runs."""
        pause = self._by_topic.get(topic)
        if pause is not None and not pause.trying:
            return None
        strikes = pause.strikes + 1 if pause is not None else 1
        delay_s = doubled_s(strikes - 1, self._options.first_s, self._options.most_s)
        if pause is None and topic and len(self._by_topic) >= TOPICS_MOST:
            del self._by_topic[next(filter(None, self._by_topic))]
        begun = self._by_topic[topic] = Pause(reason, now_s, now_s + delay_s, strikes)
        return begun

    def accepted(self, topics: Iterable[str], sent_s: float) -> list[str]:
        """APNs accepted pushes of these topics on a link opened at ``sent_s``: what is over by it, removed.

        What was sent before the pause says nothing. All links of a credential are retired when it pauses, so the age
        of the link tells; of a topic only the push that tries can be accepted.
        """
        over = [topic for topic in {WHOLE, *topics} if topic in self and self[topic].trying]
        over = [topic for topic in over if topic or sent_s >= self[topic].began_s]
        for topic in over:
            del self._by_topic[topic]
        return over

    def sift(self, held: list[Held], now_s: float) -> "Sifted":
        """Which of these may be sent now, and which are put off for how long."""
        put_off, tries = [], False
        # a tenant may have had a great many refused, and most pushes are for none of them
        topics = {WHOLE, *(entry[0].topic for entry in held)}
        for topic, pause in [each for each in self._by_topic.items() if each[0] in topics]:
            concerned = [entry for entry in held if topic in (WHOLE, entry[0].topic)]
            if not concerned:
                continue
            held = [entry for entry in held if topic not in (WHOLE, entry[0].topic)]
            delay_s = self._options.behind_s if pause.trying else pause.until_s - now_s
            if now_s >= pause.until_s:
                # the time for an answer counts as a pause, so that one that is lost is followed by another try
                self._by_topic[topic] = pause._replace(trying=True, until_s=now_s + self._options.try_s)
                held.append(concerned.pop(0))
                delay_s, tries = self._options.behind_s, True
            if concerned:
                put_off.append((concerned, delay_s))
        return Sifted(held, put_off, tries)


class Sifted(NamedTuple):
    """Jobs to ``send`` now; jobs to put off, with seconds; ``tries``: one of the former tries what was refused.

    It must go on a new link: APNs binds a connection to the topics that the team had when it was opened.
    """

    send: list[Held]
    put_off: list[tuple[list[Held], float]]
    tries: bool
