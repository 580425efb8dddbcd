"""From the bytes of a body, or the words of a query, to the request that they are; or to what is wrong with them.

What stands where nothing is looked for is refused: who wrote it meant something by it, and to do the rest without it
may be to do at once, or to everything, what was meant for later, or for a part.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from engine.admin.problems import Code
from shards.problem import Refusal
from shards.quoting import quoted

# msgspec says the place as "$.limits.weight" or "$.topics[1]"
_PLACE: Final = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<place>[^`]*)`)?$", re.DOTALL)
_NAMED: Final = re.compile(r"`([^`]*)`")
_UNKNOWN: Final = "Object contains unknown field"
_MISSING: Final = "Object missing required field"
_NOT_ONE_OF: Final = "Invalid enum value"


class Force(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The query of what may be done by force."""

    force: bool = False


class After(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The query of what may be done later."""

    after_s: float = 0.0


def decode_body(body: bytes, wanted: type[Any]) -> Any:
    """The request, or a Refusal. No body at all is an empty object."""
    try:
        return msgspec.json.decode(body or b"{}", type=wanted)
    except msgspec.ValidationError as error:
        return _in_words(str(error), wanted, "the body")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Refusal(Code.MALFORMED_JSON, "the body is not JSON; send one object, in UTF-8")


def refused_body(body: bytes, query: type[Any] | None) -> Refusal | None:
    """For an operation without a body, which may have a ``query``. An object with nothing in it is let pass: many
    clients send one always."""
    if body.strip() in (b"", b"{}"):
        return None
    return Refusal(Code.BODY_UNEXPECTED, f"this takes no body: {_behind_the_question_mark(query)}")


def refused_query(query: Mapping[str, str], body: type[Any] | None) -> Refusal | None:
    """For an operation without a query, which may have a ``body``."""
    if not query:
        return None
    instead = "end the address before the question mark"
    if body is not None:
        instead = f"write {_names(body)} into the body, a JSON object"
    return Refusal(Code.BAD_QUERY, f"this takes no query: {instead}")


def _behind_the_question_mark(query: type[Any] | None) -> str:
    if query is None:
        return "send none"
    return f"write {_names(query)} behind a question mark at the end of the address"


def _names(wanted: type[Any]) -> str:
    return ", ".join(field.encode_name for field in msgspec.structs.fields(wanted))


def decode_query(query: Mapping[str, str], wanted: type[Any]) -> Any:
    """What stands behind the question mark, or a Refusal. A name may stand there more than once in ``query``."""
    twice = next(
        (name for name, times in Counter(key for key, _ in query.items()).items() if times > 1), None
    )
    if twice is not None:
        return Refusal(Code.BAD_QUERY, f"the query has {quoted(twice)} more than once; write it once")
    try:
        return msgspec.convert(dict(query), type=wanted, strict=False)
    except msgspec.ValidationError as error:
        return Refusal(Code.BAD_QUERY, _in_words(str(error), wanted, "the query").detail)


def _in_words(said: str, wanted: type[Any], whole: str) -> Refusal:
    found = _PLACE.match(said)
    assert found is not None  # it matches whatever there is
    what, place = found["what"], found["place"] or ""
    pointer = re.sub(r"\[(\d+|\.\.\.)\]", r"/\1", place).replace(".", "/")
    name = match[1] if (match := _NAMED.search(what)) else ""
    where = pointer.removeprefix("/") or whole
    if what.startswith(_UNKNOWN):
        known = ", ".join(field.encode_name for field in getattr(_type_at(wanted, pointer), "fields", ()))
        detail = f"{where} has a field {quoted(name)}, which is not known; those that are: {known}"
        return Refusal(Code.FIELD_UNKNOWN, detail, pointer)
    if what.startswith(_MISSING):
        return Refusal(Code.FIELD_MISSING, f"{where} has no {name}; write that too", f"{pointer}/{name}")
    if what.startswith(_NOT_ONE_OF):
        # msgspec quotes what was given, whatever it is
        allowed = " or ".join(map(str, getattr(_type_at(wanted, pointer), "values", ())))
        return Refusal(
            Code.WRONG_VALUE, f"{where} is none of the words allowed here; write {allowed}", pointer
        )
    return Refusal(Code.WRONG_TYPE, f"{where} has the wrong type: {what[:1].lower()}{what[1:]}", pointer)


def _type_at(wanted: type[Any], pointer: str) -> Any:
    """The type that may stand at a place, as msgspec sees it: a Struct's, or a Literal's."""
    found = _meant(msgspec.inspect.type_info(wanted))
    for step in filter(None, pointer.split("/")):
        if isinstance(found, msgspec.inspect.StructType):
            kinds = {field.encode_name: field.type for field in found.fields}
            # a name that somebody gave a field may look like a place, and be none
            found = _meant(kinds.get(step))
        else:
            found = _meant(getattr(found, "item_type", None))
    return found


def _meant(found: Any) -> Any:
    """Without what only says something about it, and without "or nothing"."""
    while isinstance(found, msgspec.inspect.Metadata | msgspec.inspect.UnionType):
        if isinstance(found, msgspec.inspect.Metadata):
            found = found.type
        else:
            found = next(each for each in found.types if not isinstance(each, msgspec.inspect.NoneType))
    return found
