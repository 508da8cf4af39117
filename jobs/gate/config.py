"""Defines the limits of the gates between staged lists and services."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class GateConfig:
    """The limits; `--accept GATE` lets one failed gate pass on purpose, which is recorded."""

    min_coverage: float = 1.0
    """Least share of live products per market, and of known customers, that have a row."""
    min_full: float = 0.9
    """Least share of full lists in markets of 50 products or more; not for category pages and add-ons to a bag, whose
    supply varies."""
    min_rows_of_last_night: float = 0.9
    """Least rows as a share of those of the night that is live."""
    min_customers_of_last_night: float = 0.99
    """Least customers as a share of the live night's: histories do not end, but the command forget removes some."""
    min_index_recall: float = 0.95
    """Least recall of the indexes against exact search."""
    max_churn: float = 0.9
    """Greatest mean share of the live night's positions that may change, where the model changed."""
    max_churn_same_model: float = 0.5
    """The same where the model did not change: one day's events do not move half of the positions."""
    churn_lists: int = 20_000
    """About how many lists of a table are compared with the live night's, drawn by their owner's id."""
    min_catalogue: float = 0.1
    """Least share of the available products that are in any list, of those that the places could hold."""
    min_catalogue_of_last_night: float = 0.5
    """The same as a share of the live night's figure."""
    max_concentration: float = 0.8
    """Greatest `concentration` of the champion's lists: 0 is an even spread, 1 the same products in every list."""
    max_concentration_gained: float = 0.2
    """How far the concentration of lists that count purchases may exceed the live night's. It has no other limit: where
    customers buy the same few products with everything, every list is right to show them."""
    max_bestsellers_gained: float = 0.5
    """How far the share of the lists that the most shown 1 % of products are in may exceed the live night's."""
    max_fallbacks: float = 0.9
    """Greatest share of the places padded from popularity, of the lists that a model knows something for."""
    max_fallbacks_gained: float = 0.2
    """How far that share may exceed the live night's."""
    min_spread: float = 2.0
    """Fewest effective directions of vectors, at most a quarter of the products; a trained model has about 30."""
    max_norm: float = 100.0
    """Greatest length of a vector as a multiple of the mean length."""
    max_empty_vectors: float = 0.5
    """Greatest share of vectors of zeros, of which the model knows nothing."""
    fresh_customers: int = 2_000
    """Customers, at most, on whose newest events the champion is measured."""
    fresh_days: int = 1
    """Days before the night whose events are predicted."""
    device: str = "auto"
    """Where they are encoded: auto (CUDA if available, else CPU), cpu or cuda."""
    accepted: list[str] = field(default_factory=list)
    """Gates that may fail tonight."""
