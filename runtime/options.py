"""How an option says that it can't be. Each side owns its options; the way to refuse one is shared."""


class OptionError(ValueError):
    """An option that can't be used; ``option`` is its name, and the text is one line that says what to write."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(f"--{option.replace('_', '-')} {message}")
        self.option = option
