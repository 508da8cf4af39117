"""Writes the contract with services to `contract.json`: views, keys, features, types and feature services.

A test compares the file with the definitions. For a change that a service could notice, run
`python -m feature_repo.contract`, raise `version`, and add a `_v2` beside a `_v1` that services use.
"""

from __future__ import annotations

import json
from pathlib import Path

from feature_repo.served import NIGHT, ONLINE, OWNER, RANKING, SERVICES
from jobs.tables.shop import CUSTOMER_EMBEDDINGS, PRODUCT_EMBEDDINGS

FILE = Path(__file__).with_name("contract.json")


def contract() -> dict[str, object]:
    """The contract that the definitions keep, without the file's version."""
    views = {}
    for table, columns in ONLINE.items():
        types = {column.name: column.type for column in table.columns}
        views[table.name] = {"keys": list(table.key), "features": {n: types[n] for n in columns} | {NIGHT: "STRING"}}
    ranking = "The score of each candidate for a customer, by customer_id and product_id."
    given = SERVICES | {RANKING: (ranking, (CUSTOMER_EMBEDDINGS, PRODUCT_EMBEDDINGS))}
    services = {
        name: {
            "owner": OWNER,
            "description": text,
            "views": [table.name for table in tables],
            "full_feature_names": len(tables) > 1,
        }
        for name, (text, tables) in given.items()
    }
    return {"views": views, "services": services}


def main() -> None:
    """Write the file with its old version, which only a person raises."""
    version = json.loads(FILE.read_text("utf-8"))["version"]
    FILE.write_text(json.dumps({"version": version, **contract()}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
