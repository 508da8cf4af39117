"""Checks the settings of a step: a mistake in them is the user's."""

from __future__ import annotations

from jobs.errors import UserError
from models import settings


class StepSettings(settings.Settings):
    """Base of frozen dataclasses of settings; constructing one with a mistake raises UserError."""

    error = UserError
