"""What a lake has beside its tables: the names of its folders, in one place."""

INDEXES, LISTS, REPORTS = "indexes", "lists", "reports"
DATED = (INDEXES, LISTS, REPORTS)
"""One folder a night in each: see `Lake.directory`."""
MODELS, LOCKS = "models", "locks"
