"""Why a command could not do what was asked; the text is one line that says what to do instead."""


class CommandError(Exception):
    """What the person gave, or the machine lacks, stands in the way."""
