"""The limits of the gates between staged lists and services."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class GateConfig:
    """The limits; `--accept GATE` lets one failed gate pass on purpose, which is recorded."""

    min_coverage: float = 1.0
    """Least share of live products per market, and of known customers, that have a row."""
    min_full: float = 0.9
    """Least share of lists that are as long as asked for; what a page holds, and what is cheap beside a bag, varies."""
    min_rows_of_last_night: float = 0.9
    """Least rows as a share of those of the night that is live."""
    min_customers_of_last_night: float = 0.99
    """Least customers as a share of those of the night that is live: histories do not end, but some are forgotten."""
    min_index_recall: float = 0.95
    """Least recall of the indexes against exact search."""
    max_churn: float = 0.9
    """Most of the positions of the live night's lists that may be gone, as a mean share, where the model changed."""
    max_churn_same_model: float = 0.5
    """The same where the model did not: a day's events do not move half of the positions."""
    churn_lists: int = 20_000
    """About so many lists of a table are compared with the live night's, drawn by their owner's id."""
    min_catalogue: float = 0.1
    """Least share of the live products in somebody's list, of those that the lists' places could hold."""
    min_catalogue_of_last_night: float = 0.5
    """The same as a share of the live night's figure."""
    max_concentration: float = 0.8
    """Most places that the most shown hundredth of a market's products may hold, as a share of those they could."""
    max_concentration_extras: float = 0.95
    """The same for add-ons to a bag: they are cheap things of other categories, one of each, of which a shop has few
    that are wanted. A hundredth of 50,000 products held .85 of them."""
    max_fallbacks: float = 0.9
    """Most places filled from popularity alone, as a share."""
    max_fallbacks_gained: float = 0.2
    """By how much that share may exceed the live night's."""
    min_spread: float = 2.0
    """Fewest effective directions of vectors; vectors of a trained model have some 30."""
    max_norm: float = 100.0
    """Greatest length of a vector as a multiple of the mean one's."""
    max_empty_vectors: float = 0.5
    """Most vectors of which the model knows nothing, as a share."""
    fresh_customers: int = 2_000
    """At most so many customers say how the champion does on the newest day."""
    fresh_days: int = 1
    """Days before the night that they went on to."""
    device: str = "auto"
    """Where they are encoded: auto (CUDA where there is one, else CPU), cpu or cuda."""
    accepted: list[str] = field(default_factory=list)
    """Gates that may fail tonight."""
