"""What can go wrong at the store, as the layers above may see it.

StoreError
├── StoreUnavailable     Redis did not answer (``in_doubt`` says whether it may have acted all the same)
├── StoreRefused         Redis answered, and would not do it (out of memory, read only, loading)
├── NotFound             no tenant, key or campaign by that name
├── AlreadyExists        the name is taken
└── VaultError           a secret can't be opened: wrong master key, or damaged

``redis`` exceptions stop here: ``shards/redis.py`` translates them, and nothing above imports ``redis``.
"""


class StoreError(Exception):
    """Base of everything the store raises; its text is one line that a person can act on."""


class StoreUnavailable(StoreError):
    """Redis gave no answer.

    ``in_doubt`` is False when nothing was written to the socket, so the call certainly had no effect, and True
    when it was written and the answer never came.
    """

    def __init__(self, message: str, *, in_doubt: bool) -> None:
        super().__init__(message)
        self.in_doubt = in_doubt


class StoreRefused(StoreError):
    """Redis answered with an error of its own state (OOM, READONLY, LOADING, MISCONF); nothing was changed."""


class NotFound(StoreError):
    """There is no record by that name, as ``what`` says; ``see`` is the command that shows those that exist."""

    def __init__(self, what: str, see: str = "") -> None:
        super().__init__(f"{what}; 'clarion {see}' shows those that exist" if see else what)
        self.what = what
        self.see = see


class AlreadyExists(StoreError):
    """The name is taken, and records are never overwritten silently."""


class VaultError(StoreError):
    """A sealed secret can't be opened, or the master key can't be read."""
