"""Times the client's answers for visitors over a store with many products, as one process of one core gives them."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from feature_repo.client import Recommendations
from feature_repo.client.answers import FRESH
from feature_repo.client.network import EVENT_TYPES
from feature_repo.online.encode import encode_keys, encode_records
from feature_repo.online.reader import backend_at
from feature_repo.online.store import writer
from feature_repo.served import ONLINE, stored_view
from jobs.lake.lake import Lake
from jobs.networks import read_network, stage_network
from jobs.run import Run
from jobs.tables.networks import ASSORTMENTS, NETWORKS
from jobs.tables.shop import CUSTOMER_SEQUENCES, YOU_MIGHT_ALSO_LIKE
from jobs.tables.table import Table
from models.catalogue import Catalogue
from models.contract import Compute
from models.networks.artefacts import create
from models.sequences import Sequences
from models.vocabulary import Vocabulary

CUSTOMERS, HISTORY, VISIT, START = 200, 100, 10, 1_770_000_000
AT = datetime(2026, 1, 1, tzinfo=UTC)


def times_of(products: int, calls: int, folder: Path) -> dict[str, float]:
    """Processor milliseconds of each kind of answer, the median of some calls; `first` loads the network."""
    random = np.random.default_rng(3)
    ids, lake = [f"P{number:06d}" for number in range(products)], Lake(folder / "lake")
    seen = random.integers(0, products, (CUSTOMERS, HISTORY))
    kinds = random.choice(len(EVENT_TYPES), (CUSTOMERS, HISTORY), p=(0.8, 0.08, 0.08, 0.04))
    at = np.sort(START - random.integers(0, 90 * 86_400, (CUSTOMERS, HISTORY)))
    offsets = np.arange(CUSTOMERS + 1, dtype=np.int64) * HISTORY
    histories = Sequences(
        offsets, seen.ravel().astype(np.int32), kinds.ravel().astype(np.int8), at.ravel().astype(np.int64)
    )
    model = create("transformer", Vocabulary(ids), Compute("cpu"), epochs=1)  # speed does not depend on what it learns
    model.fit(histories, Catalogue.empty(products))
    stage_network(lake, Run(AT.date(), "speed", AT), model, "speed")
    every = {"places": 24, "brand_cap": 8, "category_cap": 0}
    bits = base64.b64encode(np.packbits(np.ones(products, bool)).tobytes()).decode()
    names = [f"C{number}" for number in range(CUSTOMERS)]
    words = [[EVENT_TYPES[kind] for kind in row] for row in kinds.tolist()]
    rows = {
        NETWORKS: lake.arrow(NETWORKS),
        ASSORTMENTS: pa.table({"market": ["GB"], "products": [bits], "settings": [json.dumps(every)]}),
        CUSTOMER_SEQUENCES: pa.table(
            {
                "customer_id": names,
                "product_ids": [[ids[product] for product in row] for row in seen.tolist()],
                "event_types": words,
                "event_timestamps": pa.array(at.tolist(), pa.list_(pa.int64())),
                "market": ["GB"] * CUSTOMERS,
                "bought": [[ids[product]] for product in seen[:, 0].tolist()],
            }
        ),
        YOU_MIGHT_ALSO_LIKE: pa.table(
            {
                "product_id": ids[:1_000],
                "market": ["GB"] * 1_000,
                "variant": ["default"] * 1_000,
                "product_ids": [ids[place : place + 24] for place in range(1_000)],
                "scores": pa.array([[0.5] * 24] * 1_000, pa.list_(pa.float32())),
                "sources": [["model"] * 24] * 1_000,
            }
        ),
    }
    client = _client(folder / "online.db", rows)
    visits = [
        [(ids[p], "click", START + 60 * n) for n, p in enumerate(random.integers(0, 1_000, VISIT))] for _ in names
    ]
    network = read_network(lake, AT.date())
    assert network is not None
    events = [
        network.events(zip(*columns, strict=True))
        for columns in zip([[ids[p] for p in row] for row in seen.tolist()], words, at.tolist(), strict=True)
    ]
    vector, allowed = network.encode(events[0]), np.ones(products, bool)
    assert vector is not None
    began = time.thread_time()
    assert client.home(names[0], "GB", visits[0]).list.origin == FRESH
    found = {"first": 1e3 * (time.thread_time() - began)}
    asked: dict[str, Callable[[int], Any]] = {
        "home of a customer": lambda n: client.home(names[n], "GB", visits[n]),
        "home of a stranger": lambda n: client.home(None, "GB", visits[n]),
        "ranking of 100": lambda n: client.rank(names[n], ids[:100], "GB", recent=visits[n]),
        "product page": lambda n: client.product_page(ids[n], "GB", recent=visits[n]),
        "encoding 100 events alone": lambda n: network.encode(events[n]),
        "search alone": lambda n: network.best(vector, allowed, ids[:5], 24, 8),
    }
    for name, ask in asked.items():
        spent = []
        for call in range(calls):
            began = time.thread_time()
            ask(call % CUSTOMERS)
            spent.append(1e3 * (time.thread_time() - began))
        found[name] = float(np.median(spent))
    return found


def _client(path: Path, rows: dict[Table, pa.Table]) -> Recommendations:
    """A client of a store with these rows."""
    backend = backend_at(f"sqlite://{path}")
    with writer(backend) as store:
        views = store.views({table.name: stored_view(table) for table in ONLINE})
        load = store.begin(AT.date().isoformat(), "speed", AT)
        for table, own in rows.items():
            view, whole = views[table.name], own.combine_chunks().to_batches()[0]
            keys = encode_keys(backend.prefix, view, [whole[name] for name in view.key[: view.own]])
            columns = [whole[feature.name] for feature in view.features]
            records = encode_records(store.record_head(load, view), view.features, columns, store.words.code)
            store.write(load, keys, records, True)
        store.publish(load)
    return Recommendations(f"sqlite://{path}")
