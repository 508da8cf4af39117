"""What a visitor's list may show in a market: what is sold there, without broken runs of sizes while enough is left."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import numpy as np

from jobs.lake.lake import Lake
from jobs.lists.assortments import stage_assortments
from jobs.tables.networks import ASSORTMENTS, NETWORKS
from tests.conftest import run_of
from tests.jobs.lists.test_customer_lists import CONFIG
from tests.jobs.lists.test_sizes import sized_shop
from tests.support.small_shop import FIRST, MARKETS


def test_broken_runs_of_sizes_are_shown_only_where_little_else_is(sail_lake: Lake) -> None:
    shop = sized_shop(sail_lake, 5, np.random.default_rng(5))
    shop.write(FIRST)
    ids = [*sorted(shop.catalogue, reverse=True), "P-left"]
    part = {"settings": "", "brands": [], "categories": [], "numbers": [], "model_id": "m"}
    sail_lake.replace_rows(NETWORKS, [part | {"part": "00000", "product_ids": ids}], run_of(FIRST))
    broken = {key for key, (held, made) in shop.sizes.items() if len(held) < len(made) / 2}
    for places, shown in ((2, shop.sold - broken), (10_000, shop.sold)):
        config = replace(CONFIG, top_n=places)
        stage_assortments(sail_lake, shop.builder(FIRST, config), config, run_of(FIRST))
        found = set()
        for row in sail_lake.arrow(ASSORTMENTS, as_of=FIRST).to_pylist():
            bits = np.unpackbits(np.frombuffer(base64.b64decode(row["products"]), np.uint8))[: len(ids)]
            found |= {(product, row["market"]) for product, bit in zip(ids, bits.tolist(), strict=True) if bit}
            assert json.loads(row["settings"])["places"] == places
        assert {key for key in found if key[1] in MARKETS[:2]} == {key for key in shown if key[1] in MARKETS[:2]}
