"""Generates a synthetic fashion shop: seeded raw files day by day, and the truth behind them.

summary = write_shop(raw, SIZES["tiny"], progress, truth_folder)
truth(SIZES["tiny"]).complements("P000123")
"""

from jobs.sample_shop.config import SIZES as SIZES
from jobs.sample_shop.config import ShopSize as ShopSize
from jobs.sample_shop.files import EVENT_DIRT as EVENT_DIRT
from jobs.sample_shop.files import ODD_NAMES as ODD_NAMES
from jobs.sample_shop.files import PRODUCT_DIRT as PRODUCT_DIRT
from jobs.sample_shop.files import Progress as Progress
from jobs.sample_shop.files import ShopSummary as ShopSummary
from jobs.sample_shop.files import write_days as write_days
from jobs.sample_shop.files import write_shop as write_shop
from jobs.sample_shop.files import written_days as written_days
from jobs.sample_shop.truth import ShopTruth as ShopTruth
from jobs.sample_shop.truth import truth as truth
