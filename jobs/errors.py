"""Errors a user can cause or must act on; anything else is a bug and shows its traceback."""

from __future__ import annotations


class UserError(ValueError):
    """Something given to the night is wrong; the message names the value and the remedy."""

    exit_code = 2


class GateError(UserError):
    """A night that must not be published; what is live stays live."""

    exit_code = 3


class BusyError(UserError):
    """Somebody else writes to the lake; nothing was changed, and trying again later can help."""

    exit_code = 4


class EngineLostError(UserError):
    """Spark does not answer, or not any more; the step did nothing by halves, and trying again later can help."""

    exit_code = 5
