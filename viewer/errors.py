"""The project's errors. A message says what is wrong, where, what was expected and what to do."""

from __future__ import annotations


class LensError(Exception):
    """Base of every error a user can cause or cure. The command line prints it without a traceback and exits with 2."""


class FormatError(LensError):
    """A file is damaged or not what it says it is."""


class UnsupportedError(LensError):
    """The file is sound, but its version, kind or feature is not supported."""


class DeviceError(LensError):
    """No usable GPU adapter, or the device was lost."""
