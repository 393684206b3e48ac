"""The one exception that means "the input is at fault, not the program"."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input: the message gives the value received, the rule, and the way out.

    The command line prints it as one line and exits with code 2.
    """
