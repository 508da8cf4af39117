"""Defines the errors that a user can cause or must act on; any other error is a bug and shows its traceback."""

from __future__ import annotations


class UserError(ValueError):
    """An input or setting is wrong; the message names the value and the remedy."""

    exit_code = 2


class StepError(UserError):
    """A step of a night broke off by a bug, or was killed; the log of the night has its traceback."""

    exit_code = 1


class GateError(UserError):
    """A night must not be published; the live night stays live."""

    exit_code = 3


class BusyError(UserError):
    """Another process writes to the lake; nothing was changed, and a later try can succeed."""

    exit_code = 4


class EngineLostError(UserError):
    """Spark does not answer, or not any more; no table is half written, and a later try can succeed."""

    exit_code = 5


class AwayError(UserError):
    """A service, a raw file or room on a disk is missing for now; nothing is half done, and a later try can succeed."""

    exit_code = 6


class DamageError(UserError):
    """A file of the lake or of the online store is broken or gone; only a person can put that right."""

    exit_code = 7
