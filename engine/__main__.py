"""``python -m engine`` is ``clarion``."""

from engine.cli.app import main

if __name__ == "__main__":
    main()
