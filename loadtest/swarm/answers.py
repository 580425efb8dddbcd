"""What an answer to a push says, held against what the API promises. Pure: no answer is taken on trust.

Every push of a request has one fate, and the four add up to what was sent:

- *accepted*: it has an id, which is its apns-id; it must arrive;
- *held back*: answered 429 or 503 with Retry-After: back-pressure, which is the gateway's right, and no failure;
- *refused*: answered with another problem document; this load sends nothing that deserves one;
- *in doubt*: there was no answer, or it breaks the API's promises, or it says so itself ("store-in-doubt").
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from loadtest.bench.steady import ID_BYTES, Exchange

JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"
HOLDING_BACK: Final = (429, 503)
IN_DOUBT: Final = "store-in-doubt"

_IDS: Final = re.compile(r"(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12},)*")
_CODE: Final = re.compile(r"[a-z]+(?:-[a-z]+)*")
_NOTHING: Final[Mapping[str, int]] = {}


class Answer(NamedTuple):
    """As it came; a header that was not there is empty. ``status`` 0: none came, and ``lost`` says why."""

    status: int
    body: bytes = b""
    content_type: str = ""
    retry_after: str = ""
    lost: str = ""


class Finding(NamedTuple):
    """The fates of a request's pushes. ``ids``: of those accepted, 36 bytes each, in the order of the request.

    ``held_back``, ``refused``: pushes by status and code ("429 rate-limited"). ``back_pressure``: the same in words,
    "" for none; ``retry_after_s``: when the tenant may try again. ``wrong``: what breaks the API's promises, or that
    there was no answer; it quotes nothing of what was sent.
    """

    ids: bytes = b""
    held_back: Mapping[str, int] = _NOTHING
    refused: Mapping[str, int] = _NOTHING
    in_doubt: int = 0
    back_pressure: str = ""
    retry_after_s: int = 0
    wrong: str = ""

    @property
    def accepted(self) -> int:
        return len(self.ids) // ID_BYTES

    @property
    def failure(self) -> str:
        """Why the request is a failure of the test, "" if it is none."""
        return self.wrong or (f"refused: {', '.join(sorted(self.refused))}" if self.refused else "")

    def exchanges(self, due_s: float, ended_s: float) -> Iterator[Exchange]:
        """The same as the open-loop load writes it down. Unix seconds."""
        if self.ids:
            yield Exchange(due_s, ended_s, "accepted", self.accepted, self.ids)
        if declined := sum(self.held_back.values()) + sum(self.refused.values()):
            yield Exchange(due_s, ended_s, "refused", declined)
        if self.in_doubt:
            yield Exchange(due_s, ended_s, "in_doubt", self.in_doubt)


class _Problem(msgspec.Struct):
    """RFC 9457, as far as the API promises all of it for each problem."""

    type: str
    title: str
    status: int
    detail: str
    code: str


class _Item(msgspec.Struct):
    id: str = ""
    error: _Problem | None = None


class _Single(msgspec.Struct):
    id: str


class _Batch(msgspec.Struct):
    accepted: int
    refused: int
    results: list[_Item]


class _Broken(Exception):
    """The answer breaks a promise; its text says which."""


_decode_single: Final = msgspec.json.Decoder(_Single).decode
_decode_batch: Final = msgspec.json.Decoder(_Batch).decode
_decode_problem: Final = msgspec.json.Decoder(_Problem).decode


def read_single(answer: Answer) -> Finding:
    """The answer to ``POST /v1/push``."""
    return _read(answer, 1, is_batch=False)


def read_batch(answer: Answer, pushes: int) -> Finding:
    """The answer to ``POST /v1/push/batch`` with that many pushes, which may be one."""
    return _read(answer, pushes, is_batch=True)


def _read(answer: Answer, pushes: int, *, is_batch: bool) -> Finding:
    if not answer.status:
        return Finding(in_doubt=pushes, wrong=f"no answer: {answer.lost or 'the connection ended'}")
    try:
        if answer.status >= 400:
            return _problem(answer, pushes)
        if answer.status not in ((202, 207) if is_batch else (202,)):
            raise _Broken("a status that the API does not know")
        _expect(_media_type(answer) == JSON, f"not {JSON}")
        return _batch(answer, pushes) if is_batch else Finding(_ids([_decode_single(answer.body).id]))
    except msgspec.DecodeError:
        return Finding(in_doubt=pushes, wrong=f"{answer.status}: the body is not what the API promises")
    except _Broken as error:
        return Finding(in_doubt=pushes, wrong=f"{answer.status}: {error}")


def _batch(answer: Answer, pushes: int) -> Finding:
    said = _decode_batch(answer.body)
    _expect(len(said.results) == pushes, "another number of results than of pushes")
    errors = [item.error for item in said.results if item.error is not None]
    _expect(
        all((item.error is None) == bool(item.id) for item in said.results), "a result with no fate or two"
    )
    _expect(
        (said.accepted, said.refused) == (pushes - len(errors), len(errors)),
        "the counts are not the results'",
    )
    _expect((answer.status == 207) == bool(errors), "202 is for all accepted, 207 for some not")
    for error in errors:
        _check(error)
    in_doubt = sum(error.code == IN_DOUBT for error in errors)
    held = Counter(_name(each) for each in errors if each.status in HOLDING_BACK)
    back_pressure = _in_words(held)
    if in_doubt:
        del held[f"503 {IN_DOUBT}"]
    return Finding(
        ids=_ids([item.id for item in said.results if item.id]),
        held_back=held,
        refused=Counter(_name(each) for each in errors if each.status not in HOLDING_BACK),
        in_doubt=in_doubt,
        back_pressure=back_pressure,
        retry_after_s=_retry_after_s(answer) if answer.retry_after else 0,
    )


def _problem(answer: Answer, pushes: int) -> Finding:
    _expect(_media_type(answer) == PROBLEM, f"not {PROBLEM}")
    document = _decode_problem(answer.body)
    _check(document)
    _expect(document.status == answer.status, "the document tells another status")
    name = _name(document)
    if answer.status not in HOLDING_BACK:
        return Finding(refused={name: pushes})
    after_s = _retry_after_s(answer)
    if document.code == IN_DOUBT:
        return Finding(in_doubt=pushes, back_pressure=name, retry_after_s=after_s)
    return Finding(held_back={name: pushes}, back_pressure=name, retry_after_s=after_s)


def _ids(ids: Sequence[str]) -> bytes:
    _expect(_IDS.fullmatch("".join(f"{each}," for each in ids)) is not None, "a malformed id")
    _expect(len(set(ids)) == len(ids), "an id twice")
    return "".join(ids).encode()


def _check(document: _Problem) -> None:
    _expect(_CODE.fullmatch(document.code) is not None, "a problem with a malformed code")
    _expect(400 <= document.status < 600, "a problem whose status is no error")
    _expect(all((document.type, document.title, document.detail)), "a problem that does not explain itself")


def _retry_after_s(answer: Answer) -> int:
    _expect(bool(answer.retry_after), "no Retry-After")
    _expect(answer.retry_after.isascii() and answer.retry_after.isdigit(), "Retry-After is not in seconds")
    return int(answer.retry_after)


def _name(document: _Problem) -> str:
    return f"{document.status} {document.code}"


def _in_words(names: Mapping[str, int]) -> str:
    return ", ".join(sorted(names))


def _media_type(answer: Answer) -> str:
    return answer.content_type.partition(";")[0].strip().lower()


def _expect(is_so: bool, else_wrong: str) -> None:
    if not is_so:
        raise _Broken(else_wrong)
