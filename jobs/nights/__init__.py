"""Runs whole nights and keeps their ledger."""
