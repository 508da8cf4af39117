"""What a hostile or broken system delivers: cells, rows, files and texts, each from a seed that names it again."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Sequence

CELLS = (
    "", " ", "\t", "\n", "\r\n", "\0", "a\0b", "\x1b[2J", "\x7f", "\ufeff", "\ufffd", "\u202egnp", "\u200b",
    "👗", "ünï", "𝒳" * 50, "'", '"', '""', "`", "\\", "\\'", "';--", "' OR '1'='1", "'); DROP TABLE events; --",
    "1; DELETE FROM events", "${jndi:ldap://x}", "{{7*7}}", "%s%n", "$(reboot)", "`id`", "../../etc/passwd",
    "/etc/passwd", "..\\..\\x", "file:///etc", "s3://bucket/x", "C:\\x", "<script>alert(1)</script>", "&amp;",
    "=1+1", "@SUM(A1)", "null", "NULL", "None", "nan", "NaN", "Infinity", "-inf", "1e400", "-1e400", "1e-400",
    "-0", "0x1F", "1_000", "1,5", "٣", "1d", "+", "-", ".", "1..2", "-1", "0", "9223372036854775807",
    "9223372036854775808", "-9223372036854775809", "1.7976931348623157e308", "true", "T", "yes",
    "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z", "0000-00-00", "10000-01-01", "294247-01-10",
    "-0044-03-15", "2026-02-30", "2026-04-05T24:00:00Z", "2026-04-05T10:00:00+99:99",
    "2026-04-05 10:00:00 Europe/London", "10:00", "now", "1677-09-21", "2262-04-12", "2026-04-05T10:00:60Z",
    "2026-04-05", "1e9", "x" * 201, "1" * 500, "click", "CLICK ", "purchase", "cl\u0131ck",
)  # fmt: skip
EVENTS = ("event_id", "customer_id", "product_id", "event_type", "event_ts", "market", "basket_id", "quantity", "price")
PRODUCTS = ("product_id", "name", "brand", "category", "department", "colour", "price", "currency", "launched_at",
            "image_url", "updated_at")  # fmt: skip
AVAILABILITY = ("product_id", "market", "available", "updated_at")
GOOD = {
    "events": ("{}", "c1", "pg0", "click", "2026-04-05T10:00:00Z", "GB", "", "1", "9.5"),
    "products": ("p{}", "name", "brand", "category", "women", "red", "9.5", "GBP", "2026-01-01", "x.jpg", "1"),
    "availability": ("pg0", "M{}", "true", "1"),
}
COLUMNS = {"events": EVENTS, "products": PRODUCTS, "availability": AVAILABILITY}


def letters(rng: random.Random, longest: int) -> str:
    """Any characters but halves of surrogate pairs, which no UTF-8 file can hold."""
    kinds = ((0, 0x1F), (0x20, 0x7E), (0x80, 0x2FF), (0x2000, 0x206F), (0xE000, 0xFFFD), (0x1F300, 0x1FAFF))
    return "".join(chr(rng.randint(*rng.choice(kinds))) for _ in range(rng.randint(0, longest)))


def cell(rng: random.Random) -> str:
    """One cell."""
    draw = rng.random()
    if draw < 0.6:
        return rng.choice(CELLS)
    return letters(rng, 30) if draw < 0.9 else rng.choice(CELLS) + rng.choice(CELLS)


def row(rng: random.Random, kind: str, number: int) -> list[str]:
    """A good row in which some cells, mostly one, are hostile; its first cell may be anything."""
    cells = [text.format(f"x{number}") for text in GOOD[kind]]
    for _ in range(rng.choice((1, 1, 1, 2, 9))):
        cells[rng.randrange(len(cells))] = cell(rng)
    return cells


def table(kind: str, seed: int, hostile: int, good: int) -> bytes:
    """A csv file of so many rows of each sort, mixed; good ones are numbered g0, g1, ..."""
    rng = random.Random(seed)
    rows = [row(rng, kind, number) for number in range(hostile)]
    rows += [[text.format(f"g{number}") for text in GOOD[kind]] for number in range(good)]
    rng.shuffle(rows)
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([COLUMNS[kind], *rows])
    return text.getvalue().encode("utf-8")


def mutated(rng: random.Random, content: bytes) -> bytes:
    """The content cut, doubled, with bytes changed, or something else altogether."""
    draw = rng.randrange(7)
    place, other = (rng.randrange(len(content) + 1) for _ in range(2))
    if draw == 0:
        return content[:place]
    if draw == 1:
        return content[:place] + rng.randbytes(rng.randint(1, 40)) + content[place:]
    if draw == 2:
        return content[: min(place, other)] + content[max(place, other) :]
    if draw == 3:
        return b"\x80\x04cposix\nsystem\n(S'true'\ntR."  # a pickle that runs a program
    if draw == 4:
        return content + content[place:]
    if draw == 5:
        return rng.randbytes(rng.randint(0, 200))
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8) if changed else 0):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def spliced(rng: random.Random, parts: Sequence[str], most: int) -> str:
    """Words of a language in any order, with anything between them."""
    words = [rng.choice(parts) if rng.random() < 0.85 else cell(rng) for _ in range(rng.randint(0, most))]
    return rng.choice((" ", "", "\n", ",")).join(words)
