"""What a connection is bound to, and what Apple refuses on it from then on.

Apple's page on token-based connections: the first push binds the connection to one team and to the topics
that the team has at that moment; tokens of another team are refused, tokens of an unrelated key are
refused, and a new token more than once in twenty minutes is refused. The page also allows two team-scoped
keys on one connection; here every key but the first and its declared relation is unrelated, which is
stricter and agrees with the wording of the reason UnrelatedKeyIdInToken.

A token past its hour damages the connection: it refuses every later push, whatever token that carries.
This is no word of Apple's but was seen in production (jchambers/pushy pull 783).

A client certificate binds its connection from the start: to its team and its topics, in its environments. Tokens
are then not looked at.

Pure: the time is an argument. A refusal changes nothing, except that an expired token wedges.
"""

from loadtest.simulator.bearer import Bearer
from loadtest.simulator.push_authority import PushCertificate
from loadtest.simulator.vocabulary import PROVIDER_TOKEN_AGE_MAX_S, PROVIDER_TOKEN_CHANGE_MIN_S


class Binding:
    """The team, keys, topics and current tokens of one connection, or its certificate."""

    __slots__ = ("_tokens", "_trusted", "certificate", "key_id", "team_id", "topics", "wedged")

    def __init__(self, certificate: PushCertificate | None = None) -> None:
        self.certificate = certificate
        self.team_id: str | None = None if certificate is None else certificate.team_id
        self.key_id: str | None = None
        self.topics: frozenset[bytes] = frozenset() if certificate is None else certificate.topics
        self.wedged = False
        # key id -> (fingerprint of its current token, when that token was first used here)
        self._tokens: dict[str, tuple[bytes, float]] = {}
        # The token admitted last: nearly every push carries it again, and only its age can have changed.
        self._trusted: Bearer | None = None

    def __repr__(self) -> str:
        return f"<Binding team={self.team_id} key={self.key_id}{' wedged' if self.wedged else ''}>"

    def refusal(self, bearer: Bearer | None, now_s: float, environment: str) -> str | None:
        """The reason to refuse a push with this token, or None, having bound the connection to it."""
        if self.certificate is not None:
            return None if environment in self.certificate.environments else "BadCertificateEnvironment"
        if bearer is None:
            return "MissingProviderToken"
        if self.wedged:
            return "ExpiredProviderToken"
        if bearer is not self._trusted:
            reason = self._refusal_of_stranger(bearer, now_s, environment)
            if reason is not None:
                return reason
        age_s = now_s - bearer.issued_at_s
        if age_s > PROVIDER_TOKEN_AGE_MAX_S:
            self.wedged = True
            return "ExpiredProviderToken"
        if age_s < -PROVIDER_TOKEN_AGE_MAX_S:
            # "No more than one hour from the current time" has two sides. Which reason Apple gives for
            # a token from the future is not known; a token that is not stale yet is simply not valid.
            return "InvalidProviderToken"
        if bearer is not self._trusted:
            self._bind(bearer, now_s)
        return None

    def _refusal_of_stranger(self, bearer: Bearer, now_s: float, environment: str) -> str | None:
        key = bearer.key
        if key is None or self.team_id not in (None, bearer.team_id):
            return "InvalidProviderToken"
        if key.team.environment not in (None, environment):
            return "BadEnvironmentKeyIdInToken"
        if self.key_id not in (None, bearer.key_id, key.team.related_key_id):
            return "UnrelatedKeyIdInToken"
        fingerprint, since_s = self._tokens.get(bearer.key_id, (b"", 0.0))
        if (
            fingerprint
            and fingerprint != bearer.fingerprint
            and now_s - since_s < PROVIDER_TOKEN_CHANGE_MIN_S
        ):
            return "TooManyProviderTokenUpdates"
        return None

    def _bind(self, bearer: Bearer, now_s: float) -> None:
        assert bearer.key is not None
        if self.team_id is None:
            self.team_id, self.key_id = bearer.team_id, bearer.key_id
            self.topics = bearer.key.topics
        elif bearer.key_id not in self._tokens:
            self.topics |= bearer.key.topics
        if self._tokens.get(bearer.key_id, (b"", 0.0))[0] != bearer.fingerprint:
            self._tokens[bearer.key_id] = (bearer.fingerprint, now_s)
        self._trusted = bearer
