"""Recognises customers who asked to be forgotten by keyed digests, so that raw files cannot bring their rows back."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobs.errors import UserError
from jobs.lake.storage import write_new
from jobs.tables.records import FORGOTTEN

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from jobs.lake.lake import Lake

SALT_FILE = "forgotten.salt"
"""Below the lake's root, readable by its owner alone; in object storage by everyone who may read the lake. It lets its
reader test whether an id was forgotten."""
SALT_BYTES = 32
BLOCK_BYTES = 64
"""Block size of SHA-256, to which HMAC pads its key."""
LEFT_OUT = "asked to be forgotten"
"""The reason for which rows of a forgotten customer are excluded; they are counted, and stored nowhere."""


@dataclass(frozen=True)
class Salt:
    """The key of the lake's digests."""

    key: bytes

    def digest(self, customer_id: str) -> str:
        """HMAC-SHA256 of the id, in hex."""
        return hmac.new(self.key, customer_id.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def pseudonym(self, customer_id: str) -> str:
        """What pages and summaries call the customer: 10 hex digits of another digest than the one on record."""
        return self.digest(f"page {customer_id}")[:10]

    @property
    def mark(self) -> str:
        """A digest of the salt, which distinguishes it from others and says nothing else."""
        return hashlib.sha256(b"salt" + self.key).hexdigest()[:16]


def own_salt(lake: Lake) -> Salt:
    """The lake's salt, created on first use; raises UserError if the one that its digests were made with is missing."""
    path = lake.root / SALT_FILE
    if not path.exists():
        if _records(lake):
            raise UserError(
                f"{path} is missing; without it the rows of forgotten customers cannot be recognised. Restore it from "
                "the backup of the lake"
            )
        write_new(path, (secrets.token_hex(SALT_BYTES) + "\n").encode())
    try:
        key = bytes.fromhex(path.read_text("ascii").strip())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}; restore it from the backup of the lake") from None
    salt = Salt(key)
    others = [record for record in _records(lake) if record.get("salt") != salt.mark]
    if len(key) != SALT_BYTES or others:
        raise UserError(
            f"{path} is not the salt that {len(others):,} rows of forgotten were made with; restore it from the backup "
            "of the lake"
        )
    return salt


def _records(lake: Lake) -> list[dict[str, Any]]:
    """The proofs in the table forgotten."""
    if not lake.exists(FORGOTTEN):
        return []
    return [json.loads(text) for text in lake.arrow(FORGOTTEN, ["proof"])["proof"].to_pylist()]


def records(lake: Lake, digests: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Digest -> its proof in the table forgotten, for those of `digests` that are there."""
    if not lake.exists(FORGOTTEN):
        return {}
    wanted, rows = set(digests), lake.arrow(FORGOTTEN, ["digest", "proof"]).to_pylist()
    return {row["digest"]: json.loads(row["proof"]) for row in rows if row["digest"] in wanted}


def leave_out(rows: DataFrame, lake: Lake) -> DataFrame:
    """Mark rows of events (as `contract_rows` returns them) of forgotten customers as `excluded`.

    Their reason is LEFT_OUT, before any other, so that nothing of them is kept. Raises UserError if the lake's salt is
    missing: without it their rows would come back.
    """
    if not lake.exists(FORGOTTEN):
        return rows
    digests = lake.arrow(FORGOTTEN, ["digest"])["digest"].to_pylist()
    if not digests:
        return rows
    from pyspark.sql import functions as F

    key = own_salt(lake).key.ljust(BLOCK_BYTES, b"\0")
    inner, outer = (F.unhex(F.lit(bytes(byte ^ pad for byte in key).hex())) for pad in (0x36, 0x5C))
    # RFC 2104 in functions that both engines have: H(outer || H(inner || id)).
    message = F.trim(F.col("customer_id")).cast("binary")
    digest = F.sha2(F.concat(outer, F.unhex(F.sha2(F.concat(inner, message), 256))), 256)
    known = lake.spark.createDataFrame([(each,) for each in sorted(set(digests))], "forgotten_digest STRING")
    joined = rows.withColumn("own_digest", digest).join(
        F.broadcast(known), F.col("own_digest") == F.col("forgotten_digest"), "left"
    )
    reason = F.when(F.col("forgotten_digest").isNotNull(), F.lit(LEFT_OUT)).otherwise(F.col("excluded"))
    return joined.withColumn("excluded", reason).drop("own_digest", "forgotten_digest")
