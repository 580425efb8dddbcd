"""Apple's two APNs environments. A device token and a connection belong to exactly one of them."""

from enum import StrEnum


class Environment(StrEnum):
    PRODUCTION = "production"
    SANDBOX = "sandbox"
