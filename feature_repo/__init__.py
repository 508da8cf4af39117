"""Serves the published night: Feast's definitions, the online store, and the client for services."""
