"""The functions that docs/data.md offers to authors of sources give on each engine what stands there."""

from __future__ import annotations

import re
from pathlib import Path

from jobs.lake.engine import Engine

PAGE = (Path(__file__).parents[3] / "docs" / "data.md").read_text("utf-8")
SECTION = re.search(r"^## Functions that both engines have\n(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
LINE = re.compile(r"^\| [^|`]+ \| `(.+)` \| `(.+)` \|$", re.MULTILINE)


def test_functions(engine: Engine) -> None:
    """In one query: on Spark each costs some tenths of a second."""
    assert SECTION
    found = LINE.findall(SECTION[1])
    assert len(found) == SECTION[1].count("\n| ") - 1, "every line but the head is an expression and its value"
    columns = ", ".join(f"CAST({expression} AS STRING) AS c{place}" for place, (expression, _) in enumerate(found))
    row = engine.spark.sql(f"SELECT {columns}").toArrow().to_pylist()[0]
    wrong = [
        (expression, value) for (expression, told), value in zip(found, row.values(), strict=True) if told != value
    ]
    assert wrong == []


def test_rows_of_a_list(engine: Engine) -> None:
    made = """
        WITH raw AS (SELECT '1' AS at, '[{"id": 7, "brand": "b"}, {"id": "8"}]' AS items UNION ALL
                     SELECT '2' AS at, '[{"id": 7, "brand": ""}]' AS items),
        shown AS (SELECT at, place, item.id, item.brand
                  FROM raw LATERAL VIEW posexplode(from_json(items, 'ARRAY<STRUCT<id: STRING, brand: STRING>>')) t
                  AS place, item)
        SELECT id, max(place) AS place, max_by(brand, at) FILTER (WHERE brand <> '') AS brand
        FROM shown GROUP BY id ORDER BY id"""
    assert engine.spark.sql(made).toArrow().to_pylist() == [
        {"id": "7", "place": 0, "brand": "b"},
        {"id": "8", "place": 1, "brand": None},
    ]
