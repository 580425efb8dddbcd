"""Scripts: what the simulator shall do wrong, as rules in JSON.

A rule says when (`match`, `skip`, `times`) and what (`then`, a list of actions performed in order, which is
the order on the wire). The first rule that matches a request is the only one applied to it. A field
scenario is a list of rules and nothing else, so new ones are new lists.

Fates and effects. At most one action of a rule is a fate of the push: `judge`, `answer`, `reset_stream` or
`silence`. The others act on the connection. A rule without a fate has the push judged after its actions,
unless it closes the connection or turns it into a black hole: then the push is lost unjudged.

Decided at arrival, done later. A fate is decided, and written into the ledger, when the request arrives;
`delay` postpones only the actions listed after it. So `[delay, judge]` is a slow Apple that has taken the
push, and `[silence(judged), close]` one that took it and died before it said so.

Chance. `share` is decided by a hash of the seed, the rule's place, the apns-id and the number of the
attempt: the same pushes meet the same fate in every run, in whatever order they arrive, and a repeated
attempt draws again. It takes the client's own apns-ids for that; a made one is random.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from loadtest.simulator.actions import Action, BlackHole, Close, Fate, Judge


class Match(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which requests. All given fields must agree. `nth` counts a connection's requests from 1,
    `attempt` the attempts of one apns-id from 1, `connection` the simulator's connections from 1. `old` tells the
    connections that were there when the script was set (the first one, if there was none) from later ones.
    `expiration` is the header's text, "" for a request without it.
    """

    team: str | None = None
    topic: str | None = None
    push_type: str | None = None
    token_prefix: str | None = None
    connection: int | None = None
    nth: int | None = None
    attempt: int | None = None
    old: bool | None = None
    expiration: str | None = None
    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share: must be 0 to 1, not {self.share}")


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule. It passes over the first `skip` requests that match, and is spent after `times`.

    At `connect` it is applied once per new connection, after its SETTINGS and before anything is read; only
    `match.connection`, `match.old` and `match.share` mean something there.
    """

    then: tuple[Action, ...]
    match: Match = Match()
    at: Literal["request", "connect"] = "request"
    skip: int = 0
    times: int | None = None
    name: str = ""

    def __post_init__(self) -> None:
        fates = [action for action in self.then if isinstance(action, Fate)]
        if len(fates) > 1:
            raise ValueError("then: more than one of judge, answer, reset_stream, silence")
        if self.at == "connect" and fates:
            raise ValueError("then: a rule at connect cannot judge, answer, reset_stream or silence")

    @property
    def fate(self) -> Fate | None:
        """The push's fate; None if the connection ends before there is one."""
        for action in self.then:
            if isinstance(action, Fate):
                return action
        return None if any(isinstance(action, Close | BlackHole) for action in self.then) else Judge()

    def steps(self) -> Iterator[Action]:
        """The actions in order, with the judgement that goes without saying at their end."""
        fate = self.fate
        return iter(self.then) if fate is None or fate in self.then else iter((*self.then, fate))


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What rules can look at in a request."""

    connection: int
    nth: int
    team: str
    topic: str
    push_type: str
    token: str
    apns_id: str
    attempt: int
    expiration: str = ""


class Script:
    """Rules with the count of what each has matched. Without rules it costs one truth test per batch.

    `connections`: how many there have been when it is set.
    """

    def __init__(self, rules: Sequence[Rule] = (), seed: int = 0, connections: int = 0) -> None:
        self._seed = seed
        self._newest_old = max(1, connections)
        self._rules = [(place, rule) for place, rule in enumerate(rules) if rule.at == "request"]
        self._connect_rules = [(place, rule) for place, rule in enumerate(rules) if rule.at == "connect"]
        self._matched = [0] * len(rules)

    def __repr__(self) -> str:
        return f"<Script seed={self._seed} matched={self._matched}>"

    def __bool__(self) -> bool:
        return bool(self._rules)

    def for_request(self, facts: Facts) -> Rule | None:
        """The rule to apply to this request, counted as applied."""
        for place, rule in self._rules:
            if self._agrees(rule.match, facts) and self._drawn(
                place, rule, f"{facts.apns_id}/{facts.attempt}"
            ):
                return rule
        return None

    def for_connection(self, connection: int) -> Rule | None:
        """The rule to apply to this new connection, counted as applied."""
        for place, rule in self._connect_rules:
            match = rule.match
            if (
                match.connection in (None, connection)
                and match.old in (None, connection <= self._newest_old)
                and self._drawn(place, rule, str(connection))
            ):
                return rule
        return None

    def _agrees(self, match: Match, facts: Facts) -> bool:
        return (
            match.team in (None, facts.team)
            and match.topic in (None, facts.topic)
            and match.push_type in (None, facts.push_type)
            and match.connection in (None, facts.connection)
            and match.old in (None, facts.connection <= self._newest_old)
            and match.nth in (None, facts.nth)
            and match.attempt in (None, facts.attempt)
            and match.expiration in (None, facts.expiration)
            and (match.token_prefix is None or facts.token.startswith(match.token_prefix))
        )

    def _drawn(self, place: int, rule: Rule, lot: str) -> bool:
        share = rule.match.share
        if share < 1:
            digest = hashlib.blake2b(f"{self._seed}/{place}/{lot}".encode(), digest_size=8).digest()
            if int.from_bytes(digest) >= share * 2**64:
                return False
        matched = self._matched[place]
        self._matched[place] = matched + 1
        return matched >= rule.skip and (rule.times is None or matched < rule.skip + rule.times)


def decode_rules(rules: bytes | Sequence[object]) -> list[Rule]:
    """Rules from JSON bytes or from decoded JSON; Rule objects pass as they are.

    ValueError (msgspec.ValidationError is one) with the place of the fault for anything else.
    """
    if isinstance(rules, bytes):
        return msgspec.json.decode(rules, type=list[Rule])
    return [rule if isinstance(rule, Rule) else msgspec.convert(rule, Rule) for rule in rules]
