"""What a check of a tenant's credentials is asked for over HTTP, and how it is answered."""

from typing import Literal

import msgspec

from engine.policy.diagnosis import Finding, State


class WhatToCheck(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """``environment``: only there. ``topic``: only the credential that would be taken for it."""

    environment: Literal["production", "sandbox"] | None = None
    topic: str | None = None


class Checked(msgspec.Struct, kw_only=True, frozen=True):
    """``good``: no credential is bad."""

    good: bool
    findings: list[Finding]

    @classmethod
    def of(cls, findings: list[Finding]) -> "Checked":
        return cls(good=all(each.state is not State.BAD for each in findings), findings=findings)
