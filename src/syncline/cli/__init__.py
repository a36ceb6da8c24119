"""The command line. Parses arguments and prints; what is done is done by `App` and `starter`.

click and rich are used in this package only; rich, the App and all it needs are imported when a command needs them, so
that help and completion are quick.
"""

from syncline.cli.commands import main

__all__ = ["main"]
