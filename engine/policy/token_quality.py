"""Whether a flow's device tokens belong where they are pushed to. Pure.

APNs calls a token of the other environment a BadDeviceToken, as it does one that nobody ever had. Tokens die one by
one, and then mostly as Unregistered; when most of what a flow is answered is BadDeviceToken, its tokens come from a
sandbox build and go to production, or the other way round, and to drop them would lose devices that are well. So they
are not reported dead, a person is told, and the flow is slowed to a trickle: APNs closes connections that bring many
errors, sooner for BadDeviceToken (Apple, *Handling notification responses from APNs*).

    UNPROVED ──enough answers, few bad──▶ WELL ──many, most of them bad──▶ SUSPECT ──few bad──▶ WELL
        └────────────────many, most of them bad──────────────────────────────▲
    from anywhere, when nothing was answered for long: forgotten, and UNPROVED again

Between few and most nothing changes, or a flow near one threshold would be slowed down and let go in turn. Counts fade
by half in each half-life, so they are of the last minute or so however fast the flow is.
"""

from enum import Enum, auto
from typing import Final, NamedTuple

BAD: Final = "BadDeviceToken"

# answers of a flow that is well fade together when they come within so long of each other: most batches are such, and
# it makes a difference of a fiftieth at most
TOGETHER_S: Final = 1.0
# each shard may bring what there is room for, so now and then there are more; then the flow waits, so long at most
DEBT_S: Final = 10.0
_SWEEP_FROM: Final = 1_000
# what is left of a flow's answers when it is forgotten
_FORGOTTEN: Final = 0.5


class QualityOptions(NamedTuple):
    """``doubt_from`` answers: from then on bad tokens are doubted, and not reported, when most are bad, and a flow is
    well when few are; ``suspect_from``: from then on it is suspect. ``most`` and ``few``: shares of bad tokens.
    ``trickle_per_s``: pushes of a suspect flow that one worker sends.
    """

    half_life_s: float = 30.0
    doubt_from: float = 10.0
    suspect_from: float = 50.0
    most: float = 0.5
    few: float = 0.4
    trickle_per_s: float = 4.0


class State(Enum):
    UNPROVED = auto()
    WELL = auto()
    SUSPECT = auto()


class _Flow:
    """``known``: answers that say something of a token, ``bad`` those that are BadDeviceToken, as of ``at_s``;
    ``spare``: pushes that a suspect flow may still send, or below 0 has sent too many, as of ``spare_at_s``;
    ``excused``: pushes that were under way when it became suspect."""

    __slots__ = ("at_s", "bad", "excused", "known", "spare", "spare_at_s", "state")

    def __init__(self, now_s: float) -> None:
        self.state = State.UNPROVED
        self.excused = 0
        self.known = self.bad = self.spare = 0.0
        self.at_s = self.spare_at_s = now_s


class TokenQuality:
    """The flows of one worker. Times are monotonic seconds."""

    def __init__(self, options: QualityOptions) -> None:
        self._options = options
        self._flows: dict[str, _Flow] = {}
        self._suspects: dict[str, _Flow] = {}
        self._sweep_at = _SWEEP_FROM

    def __repr__(self) -> str:
        return f"<TokenQuality {len(self._flows)} flows, {len(self._suspects)} suspect>"

    def __bool__(self) -> bool:
        """Whether any flow is suspect."""
        return bool(self._suspects)

    def __contains__(self, flow: object) -> bool:
        """Whether this flow is suspect."""
        return flow in self._suspects

    def learn(self, flow: str, known: int, bad: int, now_s: float) -> State | None:
        """APNs has answered ``known`` pushes with a word on their tokens, ``bad`` of them with BadDeviceToken.

        Returns the state that the flow has come to with this, None when it is as it was.
        """
        found = self._flows.get(flow)
        if found is None:
            self._sweep(now_s)
            found = self._flows[flow] = _Flow(now_s)
        if not bad and found.state is State.WELL and now_s - found.at_s < TOGETHER_S:
            found.known += known
            return None
        left = self._left(found, now_s)
        found.known = found.known * left + known
        found.bad = found.bad * left + bad
        found.at_s = now_s
        if found.state is State.SUSPECT:
            excused = min(known, found.excused)
            found.excused -= excused
            owed = -DEBT_S * self._options.trickle_per_s
            found.spare = max(owed, self._spare(found, now_s) - (known - excused))
            found.spare_at_s = now_s
        return self._judge(flow, found)

    def _judge(self, flow: str, found: _Flow) -> State | None:
        options, share = self._options, found.bad / found.known if found.known else 0.0
        if found.state is not State.SUSPECT and found.known >= options.suspect_from and share > options.most:
            found.state = State.SUSPECT
            found.spare, found.spare_at_s = 0.0, found.at_s
            self._suspects[flow] = found
            return State.SUSPECT
        if found.state is not State.WELL and found.known >= options.doubt_from and share < options.few:
            found.state = State.WELL
            self._suspects.pop(flow, None)
            return State.WELL
        return None

    def doubts(self, flow: str) -> bool:
        """Whether a bad token of this flow may be well, and only in the wrong place."""
        found = self._flows.get(flow)
        if found is None:
            return False
        options = self._options
        many = found.known >= options.doubt_from and found.bad > options.most * found.known
        return found.state is State.SUSPECT or many

    def rooms(self, now_s: float) -> dict[str, int]:
        """Suspect flow → how many pushes of it may be under way now."""
        return {flow: max(0, int(self._spare(found, now_s))) for flow, found in self._suspects.items()}

    def excuse(self, flow: str, pushes: int) -> None:
        """The flow has just become suspect, and so many of its pushes are under way, which is no fault of it."""
        self._flows[flow].excused = pushes

    def forget(self, flow: str) -> bool:
        """Begin anew with a flow; returns whether anything was known of it."""
        self._suspects.pop(flow, None)
        return self._flows.pop(flow, None) is not None

    def forget_silent(self, now_s: float) -> list[str]:
        """Begin anew with suspect flows that had no answers for long; returns them."""
        silent = [flow for flow, found in self._suspects.items() if self._is_silent(found, now_s)]
        for flow in silent:
            self.forget(flow)
        return silent

    # -- inside ------------------------------------------------------------------------------------------------

    def _spare(self, found: _Flow, now_s: float) -> float:
        per_s = self._options.trickle_per_s
        return min(per_s, found.spare + (now_s - found.spare_at_s) * per_s)

    def _left(self, found: _Flow, now_s: float) -> float:
        """What has not faded yet of each answer that was counted."""
        return float(0.5 ** ((now_s - found.at_s) / self._options.half_life_s))

    def _is_silent(self, found: _Flow, now_s: float) -> bool:
        return found.known * self._left(found, now_s) < _FORGOTTEN

    def _sweep(self, now_s: float) -> None:
        """Flows come and go; when there are twice as many as were left last time, the silent ones are forgotten.

        A suspect is not, since whoever raised the condition must hear of it.
        """
        if len(self._flows) >= self._sweep_at:
            self._flows = {
                flow: found
                for flow, found in self._flows.items()
                if flow in self._suspects or not self._is_silent(found, now_s)
            }
            self._sweep_at = max(_SWEEP_FROM, 2 * len(self._flows))


def is_bad(reason: str) -> bool:
    """Whether APNs calls the device token bad, in whatever spelling."""
    return reason.replace(" ", "").lower() == BAD.lower()
