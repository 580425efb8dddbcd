"""The page about the admin API says what there is, and nothing else."""

import re
from pathlib import Path

from engine.admin.problems import KINDS, Code
from engine.admin.routes import ROUTES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "admin-api.md").read_text()


def test_every_operation_is_on_the_page_with_who_may_do_it() -> None:
    told = re.findall(r"^\| `([A-Z]+) (/v1\S+)`( ●)? \|", PAGE, re.MULTILINE)
    assert sorted(told) == sorted((each.method, each.path, " ●" if each.operator else "") for each in ROUTES)


def test_every_code_is_on_the_page_with_its_status() -> None:
    told: dict[str, str] = {}
    for statuses, codes in re.findall(r"^\| ([0-9, ]+) \| (.*) \|$", PAGE, re.MULTILINE):
        told |= dict.fromkeys(re.findall(r"`([a-z-]+)`", codes), statuses)
    assert set(told) == set(Code)
    assert all(str(KINDS[Code(code)].status) in statuses for code, statuses in told.items())


def test_every_code_has_its_kind() -> None:
    assert set(KINDS) == set(Code)


def test_no_two_operations_share_a_word_or_an_address() -> None:
    assert (
        len({route.name for route in ROUTES})
        == len({(route.method, route.path) for route in ROUTES})
        == len(ROUTES)
    )
