"""What is wrong with a command line, in one line."""

from __future__ import annotations

import argparse
from typing import NoReturn

__all__ = ["Defaults", "Parser", "UsageError"]


class UsageError(ValueError):
    """A command that was not asked for rightly: exit code 2."""


class Defaults(argparse.ArgumentDefaultsHelpFormatter):
    """Help with the defaults that there are."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or action.default == []:
            return action.help
        return super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """The standard parser, whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end with exit code 2."""
        self.exit(2, f"{self.prog}: {' '.join(message.split())} (see {self.prog} --help)\n")
