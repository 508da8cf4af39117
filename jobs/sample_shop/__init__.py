"""A synthetic fashion shop: seeded raw files day by day, and the truth that is in them.

summary = write_shop(raw, SIZES["tiny"], progress, truth_folder)
truth(SIZES["tiny"]).complements("P000123")
"""

from jobs.sample_shop.config import SIZES, ShopSize
from jobs.sample_shop.dirt import EVENT_DIRT, ODD_NAMES, PRODUCT_DIRT
from jobs.sample_shop.files import Progress, ShopSummary, write_days, write_shop
from jobs.sample_shop.truth import ShopTruth, truth

__all__ = [
    "EVENT_DIRT", "ODD_NAMES", "PRODUCT_DIRT", "SIZES", "Progress", "ShopSize", "ShopSummary", "ShopTruth", "truth",
    "write_days", "write_shop",
]  # fmt: skip
