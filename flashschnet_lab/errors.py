"""The one exception that a person can cause and mend."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in what was asked for: one clear sentence that names the file or value and the fix.

    The command line prints it without a traceback and exits with code 2.
    """
