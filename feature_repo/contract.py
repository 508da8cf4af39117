"""The contract with services: views, features, types and keys, as the committed `contract.json` says them.

A test compares the file with the definitions. A change that a service could notice needs the file edited on purpose:
run `python -m feature_repo.contract`, raise `version`, and give what services use a `_v2` beside its `_v1`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from feature_repo.served import NIGHT, ONLINE, OWNER, RANKING, SERVICES
from jobs.tables.shop import CUSTOMER_EMBEDDINGS, PRODUCT_EMBEDDINGS

FILE = Path(__file__).with_name("contract.json")


def contract() -> dict[str, Any]:
    """What the definitions promise, without the file's version."""
    views = {}
    for table, columns in ONLINE.items():
        types = {column.name: column.type for column in table.columns}
        views[table.name] = {"keys": list(table.key), "features": {n: types[n] for n in columns} | {NIGHT: "STRING"}}
    services = {
        name: {"owner": OWNER, "description": text, "views": [table.name for table in tables],
               "full_feature_names": len(tables) > 1}
        for name, (text, tables) in SERVICES.items()
    }  # fmt: skip
    services[RANKING] = {
        "owner": OWNER,
        "description": "The score of each candidate for a customer, by customer_id and product_id.",
        "views": [CUSTOMER_EMBEDDINGS.name, PRODUCT_EMBEDDINGS.name],
        "full_feature_names": True,
    }
    return {"views": views, "services": services}


def written() -> dict[str, Any]:
    """The committed file."""
    found: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return found


def breaking(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What a service that keeps to `old` would miss in `new`, in words."""
    missing = []
    for name, view in old["views"].items():
        now = new["views"].get(name)
        if now is None:
            missing.append(f"the view {name} is gone")
            continue
        if now["keys"] != view["keys"]:
            missing.append(f"the keys of {name} are {now['keys']}, they were {view['keys']}")
        for feature, kind in view["features"].items():
            if now["features"].get(feature) != kind:
                missing.append(f"{name}.{feature} is {now['features'].get(feature, 'gone')}, it was {kind}")
    for name, service in old["services"].items():
        now = new["services"].get(name)
        if now is None:
            missing.append(f"the service {name} is gone")
        elif (now["views"], now["full_feature_names"]) != (service["views"], service["full_feature_names"]):
            missing.append(f"the service {name} gives {now['views']}, it gave {service['views']}")
    return missing


def main() -> None:
    """Write the file anew; its version is for a person to raise."""
    version = written()["version"] if FILE.exists() else 1
    FILE.write_text(json.dumps({"version": version, **contract()}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
