"""Tells what came of the products that customers were shown."""
