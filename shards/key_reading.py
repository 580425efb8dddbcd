"""Reads a certificate's file in a process of its own, which may use only so much time and memory.

Whoever made the file decides what reading it costs: how often a password is hashed (a number of 31 bits, in a file of
3 KB), how much memory that takes (RFC 7914), how large the primes are that a key is proven by. In a .p12 some of these
numbers are themselves encrypted, so nobody can look at them first. The process that asks serves all tenants, and the
library that reads lets nothing else run meanwhile; so another process reads, and the kernel ends it at its limit.

The file and its password go over a pipe, and what was found comes back over another. The child drops no core, and of
the environment it gets nothing that is Clarion's.
"""

import contextlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InternalError

from shards.key_files import CertificateFile, KeyFileError, load_certificate

# a file as keychains write them takes a few milliseconds, and a million rounds of PBKDF2 half a second
CPU_S: Final = 2
# what openssl asks of scrypt is 16 MiB, and Python itself takes 100
MEMORY_BYTES: Final = 512 * 1024 * 1024
# for a child that waits for a processor; the caller has to come to an end as well
WAIT_S: Final = 20.0

_NO_MEMORY: Final = 3
# what the kernel ends it with for its time, and a library itself when it gets no memory
_COSTLY: Final = (_NO_MEMORY, -signal.SIGXCPU, -signal.SIGKILL, -signal.SIGABRT)
_ROOT: Final = Path(__file__).resolve().parents[1]
_OURS: Final = "CLARION_"


class _File(msgspec.Struct):
    content: bytes
    password: str
    cpu_s: int


class _Answer(msgspec.Struct):
    """One of the two: what it is, or what is wrong with it."""

    found: CertificateFile | None = None
    wrong: str = ""


def read_certificate(content: bytes, password: str = "", *, cpu_s: int = CPU_S) -> CertificateFile:
    """``load_certificate``, at a bounded cost. Raises KeyFileError.

    It blocks, up to ``WAIT_S``, and may be called in a thread. ``cpu_s``: seconds of a processor.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__],
            input=msgspec.json.encode(_File(content, password, cpu_s)),
            capture_output=True,
            env=_environment(),
            timeout=WAIT_S,
            check=False,
        )
    except UnicodeEncodeError:
        # it came from a command line or a file, in another encoding
        raise KeyFileError("its password is not UTF-8") from None
    except subprocess.TimeoutExpired:
        raise KeyFileError(_too_costly(cpu_s)) from None
    if done.returncode in _COSTLY:
        raise KeyFileError(_too_costly(cpu_s))
    if done.returncode:
        # the fault is ours, or this machine's
        raise RuntimeError(f"what reads certificates ended with {done.returncode}: {done.stderr.decode()}")
    answer = msgspec.json.decode(done.stdout, type=_Answer)
    if answer.found is None:
        raise KeyFileError(answer.wrong)
    return answer.found


def _too_costly(cpu_s: int) -> str:
    return (
        f"to read it takes more than {cpu_s} s or {MEMORY_BYTES >> 20} MiB, and a push certificate takes far less: "
        "export it again, with fewer rounds for its password"
    )


def _environment() -> dict[str, str]:
    """Ours, for OpenSSL's settings; without our secrets, and with where this module is found."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    found = filter(None, (str(_ROOT), plain.get("PYTHONPATH")))
    return {**plain, "PYTHONPATH": os.pathsep.join(found)}


def _main() -> int:
    """The child: one file in, one answer out; returns the exit code."""
    file = msgspec.json.decode(sys.stdin.buffer.read(), type=_File)
    _limit(file.cpu_s)
    try:
        answer = _Answer(found=load_certificate(file.content, file.password))
    except KeyFileError as error:
        answer = _Answer(wrong=str(error))
    except (MemoryError, InternalError):
        return _NO_MEMORY
    sys.stdout.buffer.write(msgspec.json.encode(answer))
    return 0


def _limit(cpu_s: int) -> None:
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, MEMORY_BYTES),
    ):
        # whoever started the gateway may have set less, and macOS does not know the last one
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    sys.exit(_main())
