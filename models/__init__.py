"""Models, search and metrics: arrays in, arrays out; no storage, clock or environment."""
