"""Every number of a benchmark's size, in one place for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

NEXT_EVENT: dict[str, Any] = {"future_days": 0.0, "target_weights": (1.0, 1.0, 1.0, 1.0), "recency": 0.0}
"""These benchmarks ask for the very next event, where a night asks for those of the coming days; the search may read
newer sessions more often."""


@dataclass(frozen=True)
class Preset:
    """How much is read, searched and trained; the same for every trained model."""

    sessions: int | None
    """At most so many histories are fitted, the newest ones; None: all."""
    test_rows: int | None
    """At most so many rows are judged at the end, drawn evenly; None: all."""
    validation_share: float
    """The last part of the training data, on which hyper-parameters are chosen and which the final fit reads too."""
    validation_rows: int
    """At most so many rows are judged for each trial."""
    trials: int
    """Settings tried for each model; the first are the model's defaults."""
    trial_sessions: int | None
    """Trials are fitted on so many histories, the newest ones before the validation window; None: all."""
    trial_epochs: int
    """Passes of a trial."""
    finalists: int
    """So many of the best trials are fitted again as the final fit will be, and the best of those is taken."""
    epochs: tuple[int, ...]
    """Passes of the final fit; each finalist is tried with each."""
    amf_passes: int
    """AMF makes so many times the passes, of trials and of the final fit: each is that much cheaper than a
    transformer's, and it is not for want of training that AMF should lose."""
    width: int
    """Length of a product vector."""
    layers: int
    """Transformer blocks."""
    heads: int
    """Attention heads."""
    max_length: int
    """Events of a history that models see."""
    negatives: int
    """Drawn per batch, for every model alike."""
    batch_events: int
    """Events per batch, padding included."""
    dropout: float | None = None
    """Where the search of a transformer begins; None: its own default. More passes want more of it."""
    seed: int = 17
    """Of the search and of every draw of rows; the final fits count their own from it."""

    @property
    def common(self) -> dict[str, Any]:
        """Settings that are the same for every trained model."""
        names = ("width", "max_length", "negatives", "batch_events")
        return {name: getattr(self, name) for name in names} | NEXT_EVENT

    def passes(self, kind: str, epochs: int) -> int:
        """What `epochs` of this preset mean for a kind of model."""
        return epochs * (self.amf_passes if kind == "amf" else 1)


TIMED = {
    "quick": Preset(
        sessions=None, test_rows=3_000, validation_share=0.07, validation_rows=1_500, trials=4,
        trial_sessions=3_000, trial_epochs=3, finalists=1, epochs=(3, 6), amf_passes=3,
        width=64, layers=2, heads=2, max_length=50, negatives=1024, batch_events=4096,
    ),
    "full": Preset(
        sessions=None, test_rows=None, validation_share=0.07, validation_rows=5_000, trials=12,
        trial_sessions=None, trial_epochs=4, finalists=1, epochs=(6, 12), amf_passes=2,
        width=128, layers=2, heads=2, max_length=100, negatives=2048, batch_events=4096,
    ),
}  # fmt: skip
"""Of `timestamped`; a history is a customer's, and the validation window is as long as the one that is judged."""
SESSIONS = {
    "quick": Preset(
        sessions=40_000, test_rows=10_000, validation_share=0.07, validation_rows=2_000, trials=4,
        trial_sessions=12_000, trial_epochs=4, finalists=1, epochs=(4, 8), amf_passes=3,
        width=64, layers=2, heads=2, max_length=30, negatives=1024, batch_events=4096,
    ),
    "full": Preset(
        sessions=None, test_rows=None, validation_share=0.07, validation_rows=5_000, trials=6,
        trial_sessions=40_000, trial_epochs=6, finalists=1, epochs=(16,), amf_passes=1,
        width=128, layers=2, heads=4, max_length=20, negatives=2048, batch_events=4096, dropout=0.35,
    ),
}  # fmt: skip
"""Of `sessions`. On 2 cores and some 190,000 sessions of 43,000 products, quick takes minutes for all models and full
about an hour for the transformer."""
