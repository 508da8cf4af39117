"""Removes invisible characters and escape sequences from text."""

from __future__ import annotations

import re
import unicodedata

ESCAPE_SEQUENCES = re.compile(r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[\[(][0-?]*[ -/]*[@-~]?|\x9b[0-?]*[ -/]*[@-~]")
"""Sequences that move a terminal's cursor, colour its text or name its window."""


INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories of invisible characters: controls, direction overrides, line ends."""


def clean(text: str | None) -> str:
    """Text from data as one visible line: no control character, escape sequence or direction override."""
    if text and text.isprintable():  # nothing to remove: most texts, in a fiftieth of the time
        return " ".join(text.split())
    without = ESCAPE_SEQUENCES.sub("", text or "")
    shown = "".join(" " if unicodedata.category(letter) in INVISIBLE else letter for letter in without)
    return " ".join(shown.split())
