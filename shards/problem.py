"""What both APIs say when something is not done: problem documents (RFC 9457). Each has its own table of codes.

``Refusal`` is the value that the layers below return: a code out of the table, the place in the body that is wrong,
and a sentence that says what to write instead. ``Problem`` is the document that is sent. Every code has an entry at
the address in ``type``.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

CONTENT_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "/docs/problems#"


class Kind(NamedTuple):
    """What is fixed for a code. ``retryable``: the same request may be done later, and can't act twice.

    ``type_name``: the last part of the address in ``type``, if it is not the code. ``violated``: the policies of the
    RateLimit-Policy header that were.
    """

    status: int
    title: str
    retryable: bool = False
    type_name: str = ""
    violated: tuple[str, ...] = ()


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """Why something was not done. ``pointer`` (RFC 6901) is the place in the body, or in the notification; "" for all
    of it."""

    code: StrEnum
    detail: str
    pointer: str = ""


class Flaw(msgspec.Struct, frozen=True, kw_only=True):
    """One place that is wrong."""

    pointer: str
    code: str
    detail: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The document of RFC 9457, with ``code``, ``errors`` and ``retryable`` as its extensions.

    ``instance`` is the id of the request, as in the X-Request-Id header; a problem inside a batch has none.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool
    errors: Sequence[Flaw] = ()
    instance: str = ""


P = TypeVar("P", bound=Problem)


def document(made: type[P], kind: Kind, refusal: Refusal, instance: str, **extensions: Any) -> P:
    """The document that says what ``refusal``, which is of this kind, means."""
    code, detail, pointer = refusal.code.value, refusal.detail, refusal.pointer
    return made(
        type=f"{TYPE_PREFIX}{kind.type_name or code}",
        title=kind.title,
        status=kind.status,
        detail=detail,
        code=code,
        retryable=kind.retryable,
        errors=(Flaw(pointer=pointer, code=code, detail=detail),) if pointer else (),
        instance=instance,
        **extensions,
    )
