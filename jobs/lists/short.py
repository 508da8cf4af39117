"""Says why a list is shorter than asked for, by the rules that may keep products out of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jobs.lists.touch_points import TouchPoint
from models.assembly.rulebook import Rulebook


def short_reason(point: TouchPoint, book: Rulebook, n: int) -> str:
    """The reason of a list of n products that does not show all that its market sells."""
    fit = "no product fits" if not n else "only 1 product fits" if n == 1 else f"only {n} products fit"
    rules = ", ".join(_limits(point, book, n))
    return f"{fit}: {rules}" if rules else f"{fit} there"


def _limits(point: TouchPoint, book: Rulebook, n: int) -> Iterator[str]:
    """What limits a list of n products, in words; caps that n products cannot have reached are left out."""
    if point.other_category:
        yield "other categories than the product's"
    own = np.eye(len(book.mixes) - 1, dtype=bool)
    if not book.mixes.all():
        yield "its department" if np.array_equal(book.mixes[:-1, :-1], own) else "departments that the rules allow"
    if 0 < book.category_cap <= n:
        yield "one of each category" if book.category_cap == 1 else f"at most {book.category_cap} of a category"
    if 0 < book.brand_cap <= n:
        yield "one of each brand" if book.brand_cap == 1 else f"at most {book.brand_cap} of a brand"
    bounds = [f"at least {book.price_low:g}"] if book.price_low > 0 else []
    bounds += [f"at most {book.price_high:g}"] if np.isfinite(book.price_high) else []
    if bounds:
        yield f"a price of {' and '.join(bounds)} times the product's"
    if (book.excluded >= 0).any():
        yield "nothing that a rule excludes"
    if point.beside:
        yield "nothing that is shown beside it"
    if point.table.key[0] == "customer_id":
        yield "nothing that the customer bought"
