"""Administration by command line, on a Redis that a gateway would share: what is done, and the words for mistakes."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from test_cli import clarion, one_line

from loadtest.simulator.push_authority import ensure_push_authority
from loadtest.teams import make_team

ONE, TWO = make_team(1), make_team(2)
API_KEY = r"clarion_[0-9a-f]{8}_[A-Za-z0-9_-]{43}"
Does = Callable[..., str]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for team in (ONE, TWO):
        (tmp_path / f"AuthKey_{team.key_id}.p8").write_bytes(team.private_key_pem)
    return tmp_path


@pytest.fixture
def does(redis_url: str, files: Path) -> Does:
    """Runs a command, which must go well; returns what it printed. ``fails``: it must not, and returns its one line."""

    def run(*words: str, fails: bool = False) -> str:
        where = ("--redis-url", redis_url, "--data-dir", str(files / "data"))
        said, error = clarion(*words, *where, cwd=files, code=1 if fails else 0)
        for team in (ONE, TWO):
            assert team.private_key_pem.decode().splitlines()[1] not in said + error
        return one_line(error) if fails else said

    return run


@pytest.fixture
def acme(does: Does) -> str:
    """A tenant with a credential; its API key."""
    of_team = ("--team-id", ONE.team_id, "--key-id", ONE.key_id, "--key-file", f"AuthKey_{ONE.key_id}.p8")
    said = does("tenant", "create", "acme", *of_team, "--topic", "com.acme.app", "--weight", "2")
    [key] = re.findall(API_KEY, said)
    return str(key)


def test_a_tenant_from_its_beginning_to_its_end(does: Does, acme: str) -> None:
    assert re.search(
        r"acme +open +TEAM000001 +KEYS000001 +com.acme.app +weight 2 +4 +resend", does("tenant", "list")
    )
    assert "limits: weight 2, send_per_s 50" in does("tenant", "set", "acme", "--send-per-s", "50")
    assert "Tenant acme is paused: low" in does("tenant", "pause", "acme", "--lane", "low")
    assert "Tenant acme is open" in does("tenant", "resume", "acme")
    assert "Tenant acme is disabled" in does("tenant", "disable", "acme")
    assert "Tenant acme is open" in does("tenant", "enable", "acme")
    shown = does("tenant", "show", "acme")
    for told in ("0 in high, 0 in low", "com.acme.app", ONE.key_id, acme[:16], "production, sandbox"):
        assert told in shown
    assert acme not in shown
    detail = json.loads(does("tenant", "show", "acme", "--json"))
    assert (detail["limits"]["weight"], detail["queue"]["high"]) == (2, 0)
    assert json.loads(does("tenant", "list", "--json"))["tenants"][0]["name"] == "acme"
    assert "Tenant acme is gone" in does("tenant", "delete", "acme")
    assert "There is no tenant yet" in does("tenant", "list")


def test_a_tenant_may_begin_with_nothing(does: Does) -> None:
    said = does("tenant", "create", "bare")
    assert "no application yet: 'clarion application add bare" in said
    assert "no credential yet: 'clarion credential add bare" in said
    made = json.loads(does("tenant", "create", "other", "--json"))
    assert re.fullmatch(API_KEY, made["api_key"])


def test_applications(does: Does, acme: str) -> None:
    assert "may push to com.acme.mail" in does("application", "add", "acme", "com.acme.mail")
    assert re.search(rf"com.acme.mail +{ONE.key_id} +{ONE.key_id}", does("application", "list", "acme"))
    assert "no more" in does("application", "remove", "acme", "com.acme.mail")
    said = does("application", "remove", "acme", "com.acme.app", fails=True)
    assert "is the last application of tenant 'acme'" in said
    assert "can push to none" in does("application", "remove", "acme", "com.acme.app", "--force")


def test_a_key_is_rotated_and_the_old_one_revoked(does: Does, acme: str) -> None:
    # the id of the new key stands in the name of its file
    said = does(
        "credential",
        "rotate",
        "acme",
        ONE.key_id,
        "--key-file",
        f"AuthKey_{TWO.key_id}.p8",
        "--overlap",
        "7d",
    )
    assert f"Credential {TWO.key_id} (team {ONE.team_id}) signs com.acme.app in production" in said
    listed = does("credential", "list", "acme")
    assert re.search(rf"{ONE.key_id} .* nothing now .*\d\d:\d\d *$", listed, re.MULTILINE)
    assert re.search(rf"{TWO.key_id} .* com.acme.app .* never *$", listed, re.MULTILINE)
    assert "is gone" in does("credential", "revoke", "acme", ONE.key_id)
    said = does("credential", "disable", "acme", TWO.key_id)
    assert "signs nothing now" in said and "Note: nothing signs pushes to com.acme.app" in said
    does("credential", "enable", "acme", TWO.key_id)
    assert "until 2099-01-31" in does("credential", "expire", "acme", TWO.key_id, "2099-01-31")
    assert "until" not in does("credential", "expire", "acme", TWO.key_id, "never")


def test_a_certificate_is_added_with_the_password_of_its_file(does: Does, acme: str, files: Path) -> None:
    issued = ensure_push_authority(files / "authority").issue(ONE.team_id, "com.acme.app", ("production",))
    (files / "push.p12").write_bytes(issued.p12("open sesame"))
    (files / "password").write_text("open sesame\n")
    given = ("credential", "add", "acme", "--certificate-file", "push.p12")
    assert "it is protected by a password" in does(*given, fails=True)
    said = does(*given, "--certificate-password-file", "password")
    assert "Credential com.acme.app (team TEAM000001) signs com.acme.app in production until" in said
    assert "certificate" in does("credential", "list", "acme")
    again = does(*given, "--certificate-password-file", "password", "--name", "again", fails=True)
    assert "this certificate is there already, as credential 'com.acme.app'" in again
    other = ensure_push_authority(files / "authority").issue(ONE.team_id, "com.acme.mail")
    (files / "push.pem").write_bytes(other.certificate_pem + other.key_pem())
    said = does("credential", "add", "acme", "--certificate-file", "push.pem", fails=True)
    assert "--certificate-file is for com.acme.mail, and this tenant has com.acme.app" in said


def test_api_keys(does: Does, acme: str) -> None:
    said = does("key", "create", "acme", "--scope", "admin", "--label", "ci", "--not-after", "90d")
    [key] = re.findall(API_KEY, said)
    listed = does("key", "list", "acme")
    assert re.search(rf"acme +{key[:16]} +admin +ci ", listed) and key not in listed
    assert does("key", "list").count("acme ") == 2
    # a lost key: whoever asks for it is told what to do
    said = does("key", "show", key[:16])
    assert "If it is lost, make another one" in said
    assert f"clarion key revoke acme {key[:16]}" in said
    assert "ends now" in does("key", "revoke", "acme", key[:16])
    said = does("key", "revoke", "acme", acme, "--after", "1h")
    assert "no other API key of this tenant may push" in said and acme not in said
    said = does("key", "show", acme.replace("clarion_", "clarion_x"), fails=True)
    assert "up to the second underscore" in said and acme[17:] not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("tenant show nobody", "there is no tenant 'nobody'; 'clarion tenant list' shows those that exist"),
        ("tenant set acme", "say what to set: --weight"),
        ("tenant set acme --weight 0", "--weight is 0; write a number from 1 to 1000"),
        ("tenant create acme", "there is a tenant 'acme' already; choose another name"),
        ("tenant create Acme", "the name 'Acme' can't be: write lower-case letters"),
        (f"tenant create zeta --team-id {ONE.team_id}", "--key-file or a certificate is needed"),
        ("application add acme com_acme", "the bundle id 'com_acme' can't be: write a bundle id such as"),
        ("application remove acme com.x", "no application 'com.x'; 'clarion application list acme'"),
        (f"credential add acme --key-file AuthKey_{TWO.key_id}.p8", "--team-id '' can't be: write the 10 capital"),
        (
            f"credential add acme --team-id {ONE.team_id} --key-id {ONE.key_id} --key-file AuthKey_{TWO.key_id}.p8",
            f"--key-id is {ONE.key_id}, and --key-file is called AuthKey_{TWO.key_id}.p8",
        ),
        (
            f"credential add acme --team-id OTHERTEAM1 --key-file AuthKey_{ONE.key_id}.p8",
            f"--team-id is OTHERTEAM1, but credential '{ONE.key_id}' has the key id {ONE.key_id} in team TEAM000001",
        ),
        (
            f"credential add acme --team-id {ONE.team_id} --key-file AuthKey_{ONE.key_id}.p8",
            f"this key is there already, as credential '{ONE.key_id}'",
        ),
        (
            f"credential add acme --team-id {TWO.team_id} --key-file AuthKey_{TWO.key_id}.p8 --topic com.x",
            "--topic 'com.x' is no application of this tenant, which has com.acme.app",
        ),
        (
            f"credential add acme --team-id {TWO.team_id} --key-file AuthKey_{TWO.key_id}.p8 --not-after soon",
            "--not-after can't be read: write a date such as 2027-01-31",
        ),
        ("credential add acme --key-file lost.p8", "--key-file lost.p8 can't be read: No such file"),
        ("credential revoke acme none", "no credential 'none'; 'clarion credential list acme'"),
        ("credential expire acme KEYS000001 2020-01-01", "--not-after is over: write a time to come"),
        ("key revoke acme lost", "there is no API key 'lost': write its beginning, up to the second underscore"),
        ("key show clarion_00000000", "there is no API key 'clarion_00000000'; 'clarion key list'"),
        ("key create nobody", "there is no tenant 'nobody'; 'clarion tenant list'"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_one_line_that_says_what_to_write(
    words: str, said: str, does: Does, acme: str
) -> None:
    assert said in does(*words.split(), fails=True)


def test_a_host_without_the_master_key_makes_none_of_its_own(
    redis_url: str, does: Does, acme: str, files: Path
) -> None:
    given = ("--team-id", TWO.team_id, "--key-file", f"AuthKey_{TWO.key_id}.p8")
    elsewhere = ("--redis-url", redis_url, "--data-dir", str(files / "elsewhere"))
    _, error = clarion("credential", "add", "acme", *given, *elsewhere, cwd=files, code=1)
    assert "can't read the master key" in one_line(error)
    assert not (files / "elsewhere").exists()
