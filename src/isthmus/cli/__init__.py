"""The command line. Every command is documented in docs/reference/commands.md (a test holds that list against this)."""

from isthmus.cli.app import main

__all__ = ["main"]
