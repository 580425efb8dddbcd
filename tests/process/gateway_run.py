"""A run of the whole gateway in which as much goes wrong as can, and all that anybody could read of it afterwards."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from redis import Redis
from trove import Place, Trove, of_bytes, of_key, of_text, of_token, without_once

from engine.apns.bearer import GRID_S, Bearer
from loadtest.demo.stage import Stage
from loadtest.teams import MadeUpTeam, make_team
from shards.key_files import load_p8
from shards.private_redis.server import running_url
from shards.vault import read_master_key

WITHIN_S = 60.0
_STARTED = re.compile(r" (worker|ingest|admin)-?(\d*) started, pid (\d+)$", re.MULTILINE)


class Run:
    """A gateway and a simulator that stand, the secrets of the run, and what was said so far.

    ``told`` is what people were told: answers, the output of commands. ``shown`` is of commands that show device tokens
    when they are asked for one.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.teams = [make_team(number) for number in range(4)]
        self.trove = Trove()
        self.told: list[Place] = []
        self.shown: list[Place] = []
        self.devices: list[str] = []
        self.api_keys: dict[str, str] = {}
        self.began_s = time.time()
        self._key_files = [self._key_file(team) for team in self.teams]
        for team in self.teams:
            self.trove.add(f"key {team.key_id}", of_key(team.private_key_pem))
        self.learn_master_keys()
        token = (stage.data_dir / "admin.token").read_text().strip()
        self.admin_token = token
        self.trove.add("admin token", of_text(token.partition("_")[2]))

    # -- secrets ---------------------------------------------------------------------------------------------------

    def learn_master_keys(self) -> None:
        """Those that the file holds now."""
        for key in read_master_key(self.stage.data_dir / "master.key", create=False).keys:
            self.trove.add(f"master key {key[:2].hex()}", of_bytes(key))

    def learn_api_key(self, tenant: str, secret: str) -> None:
        self.api_keys[tenant] = secret
        # what stands before it is its prefix, which may be shown
        self.trove.add(f"API key {secret[:16]} of {tenant}", of_text(secret.split("_", 2)[2]))

    def learn_provider_tokens(self) -> None:
        """Whichever the workers have signed since the run began: every process makes the same."""
        for team in self.teams:
            bearer = Bearer(load_p8(team.private_key_pem), team.team_id, team.key_id)
            for at_s in {self.began_s // GRID_S, time.time() // GRID_S}:
                token, issued_s = bearer.token(at_s * GRID_S)
                self.trove.add(f"provider token {team.key_id} {issued_s}", of_token(token))

    def device(self, kind: str = "") -> str:
        token = kind + os.urandom(32).hex()[len(kind) :]
        self.devices.append(token)
        return token

    def _key_file(self, team: MadeUpTeam) -> Path:
        path = self.stage.directory / f"AuthKey_{team.key_id}.p8"
        path.write_bytes(team.private_key_pem)
        return path

    def key_words(self, number: int, **options: str) -> list[str]:
        """The options of a command that takes the key of this team."""
        given = {
            "team-id": self.teams[number].team_id,
            "key-id": self.teams[number].key_id,
            "key-file": str(self._key_files[number]),
            **options,
        }
        return [word for name, value in given.items() for word in (f"--{name}", value)]

    # -- what is asked ---------------------------------------------------------------------------------------------

    async def clarion(self, *words: str, shows: str = "", to: list[Place] | None = None) -> str:
        """A command, on the gateway's data directory; returns all that it said. ``shows``: the tenant whose new API
        key it shows, once."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith("CLARION_")}
        where = [] if words[0] == "send" else ["--data-dir", str(self.stage.data_dir)]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "engine", *words, *where),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.stage.directory,
            env={**plain, "COLUMNS": "300", **self._variables(words)},
        )
        said, _ = await process.communicate()
        place = Place(f"output of clarion {' '.join(words[:2])}", said)
        if shows:
            place = place._replace(content=self._once_shown(shows, said))
        (self.told if to is None else to).append(place)
        return said.decode()

    def _variables(self, words: Sequence[str]) -> Mapping[str, str]:
        return {"CLARION_API_KEY": next(iter(self.api_keys.values()))} if words[0] == "send" else {}

    def _once_shown(self, tenant: str, said: bytes) -> bytes:
        [secret] = set(re.findall(rb"clarion_[0-9a-f]{8}_[A-Za-z0-9_-]{43}", said))
        self.learn_api_key(tenant, secret.decode())
        return without_once(said, secret.decode())

    async def ask(
        self,
        url: str,
        method: str,
        path: str,
        *,
        key: str = "",
        shows: str = "",
        headers: Mapping[str, str] | None = None,
        **body: Any,
    ) -> Any:
        """A request, well-formed as HTTP; returns the answer's JSON, or None if it is none."""
        given = {"Authorization": f"Bearer {key}"} if key else {}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"{url}{path}", headers={**given, **(headers or {})}, **body) as answer,
        ):
            content = await answer.read()
            head = repr((answer.status, answer.reason, sorted(answer.headers.items()))).encode()
            said = self._once_shown(shows, content) if shows else content
            self.told.append(Place(f"answer {answer.status} to {method}", head + b"\n" + said))
        try:
            return json.loads(content)
        except ValueError:
            return None

    async def say(self, port: int, request: bytes) -> None:
        """Bytes that need not be HTTP."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        writer.write_eof()
        async with asyncio.timeout(WITHIN_S):
            self.told.append(Place("answer to raw bytes", await reader.read()))
        writer.close()

    async def push(self, tenant: int, *tokens: str, **fields: Any) -> list[str]:
        """Push to these devices; returns the ids."""
        team = self.teams[tenant]
        plain = {"topic": team.topic, "payload": {"aps": {"alert": "hi"}}, **fields}
        items = [{"device_token": token, **plain} for token in tokens]
        key = self.api_keys[team.tenant]
        answer = await self.ask(self.stage.http_url, "POST", "/v1/push/batch", key=key, json=items)
        assert answer.get("accepted") == len(tokens), answer
        return [result["id"] for result in answer["results"]]

    async def control(self, path: str, document: Any) -> None:
        """Tell the simulator something."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.stage.control_url}{path}", json=document) as answer,
        ):
            answer.raise_for_status()

    # -- what there is to read afterwards ----------------------------------------------------------------------------

    def log(self) -> str:
        return (self.stage.directory / "gateway.log").read_text(errors="replace")

    def pids(self, kind: str) -> list[int]:
        """Processes of this kind that live, the newest last."""
        found = [int(pid) for name, _, pid in _STARTED.findall(self.log()) if name == kind]
        return [pid for pid in found if _lives(pid)]

    async def until(self, holds: Any, what: str) -> None:
        deadline_s = time.monotonic() + WITHIN_S
        while not holds():
            assert time.monotonic() < deadline_s, f"{what}\n{self.log()[-3000:]}"
            await asyncio.sleep(0.05)

    def look_at_processes(self) -> None:
        """What ps shows to every user of the machine."""
        assert self.stage.gateway is not None
        for pid in [self.stage.gateway.pid, *self.pids("worker"), *self.pids("ingest"), *self.pids("admin")]:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
            assert b"engine" in words
            self.told.append(Place(f"command line of {pid}", words))

    def store(self) -> list[Place]:
        """Every file of Redis, and every value as it gives it."""
        url = running_url(self.stage.data_dir)
        assert url is not None
        with Redis.from_url(url) as redis:
            # what is compressed can't be searched
            redis.config_set("rdbcompression", "no")
            redis.save()
            redis.bgrewriteaof()
            while any(
                redis.info("persistence")[f"aof_rewrite_{word}"] for word in ("in_progress", "scheduled")
            ):
                time.sleep(0.05)
            values = [
                Place(f"value of {key.decode()}", key + b"\n" + value(redis, key))
                for key in redis.scan_iter()
            ]
        files = [path for path in (self.stage.data_dir / "redis").rglob("*") if path.is_file()]
        assert any(path.suffix == ".rdb" for path in files) and any(".aof" in path.name for path in files)
        return [*values, *(Place(f"file {path.name}", path.read_bytes()) for path in files)]

    def logs(self) -> list[Place]:
        files: Iterable[Path] = self.stage.directory.rglob("*.log")
        return [Place(path.name, path.read_bytes()) for path in files]

    async def kill_a_worker(self) -> None:
        """kill -9, and wait for the one that takes its place."""
        [victim, *_] = before = self.pids("worker")
        os.kill(victim, signal.SIGKILL)
        await self.until(
            lambda: victim not in self.pids("worker") and len(self.pids("worker")) == len(before),
            "no worker takes the place of the one that was killed",
        )


def value(redis: "Redis", key: bytes) -> bytes:
    """A value of any type, as bytes."""
    kind = redis.type(key)
    read: dict[bytes, Any] = {
        # a push may be over, and its keys gone, by the time that they are read
        b"none": list,
        b"string": lambda: [redis.get(key) or b""],
        b"list": lambda: redis.lrange(key, 0, -1),
        b"set": lambda: redis.smembers(key),
        b"zset": lambda: redis.zrange(key, 0, -1),
        b"hash": lambda: [word for pair in redis.hgetall(key).items() for word in pair],
        b"stream": lambda: [
            word for _, entry in redis.xrange(key) for pair in entry.items() for word in pair
        ],
    }
    return b"\n".join(read[kind]())


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
