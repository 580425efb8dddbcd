"""Which Clarion this is."""

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """The version of the installed package."""
    try:
        return version("clarion")
    except PackageNotFoundError:
        # run from a checkout that was never installed
        return "0+unknown"
