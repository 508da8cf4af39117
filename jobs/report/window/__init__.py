"""Writes the shop window: the lists as a shopper would see them."""
