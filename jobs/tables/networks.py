"""Describes the tables from which services compute lists of their own between two nights."""

from __future__ import annotations

from jobs.tables.table import Table

NETWORKS = Table(
    "networks",
    "The champion's network and products in parts, from which the client encodes what a visitor does now.",
    ("part",),
    """
part        STRING        network, or the number of a part of the products
settings    STRING        what the network is, and the names and shapes of what `numbers` holds, as JSON
product_ids ARRAY<STRING> the products of the part; none in the part network
brands      ARRAY<STRING> the brand of each; empty where the catalogue has none
categories  ARRAY<STRING> the category of each, likewise
numbers     ARRAY<FLOAT>  weights, or the vectors of the products, one after another
model_id    STRING        the model
""",
    ("as_of",),
)

ASSORTMENTS = Table(
    "assortments",
    "Which products of `networks` a list of a visitor may show in a market: on sale there, and excluded by no rule.",
    ("market",),
    """
market   STRING market
products STRING one bit for each product of the parts of networks in their order, as base64
settings STRING places, brand_cap and category_cap of Recommended for you, as JSON
""",
    ("as_of",),
)
