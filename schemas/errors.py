"""The one root of the errors that Assay explains to people.

A subclass carries one message that names the file, row, key or address and what to do about it;
the command line prints the message and exits with 1. Anything else that is raised is a bug.
"""

from __future__ import annotations


class AssayError(Exception):
    """A failure that names its cause and the mend."""
