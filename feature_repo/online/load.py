"""A night on its way into the online store: what it is, and how far it has come."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from feature_repo.online.versions import Live


@dataclass
class Load:
    """A night on its way into the store; recorded there, so that a later process can go on with it."""

    live: Live
    """What will be live: its number, night and time."""
    parent: Live
    identity: str
    """What is loaded, by content: an attempt at something else is another load."""
    done: dict[str, int] = field(default_factory=dict)
    """View -> batches written; -1 where it is complete."""
    written: dict[str, int] = field(default_factory=dict)
    """View -> records written."""

    def packed(self) -> bytes:
        """As JSON."""
        plain = {"live": self.live.packed().decode(), "parent": self.parent.packed().decode(),
                 "identity": self.identity, "done": self.done, "written": self.written}  # fmt: skip
        return json.dumps(plain).encode()

    @classmethod
    def of(cls, data: bytes) -> Load:
        """From JSON."""
        plain = json.loads(data)
        live, parent = (Live.of(plain.pop(name).encode()) for name in ("live", "parent"))
        return cls(live, parent, **plain)
