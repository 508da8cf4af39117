"""Trains the neural models."""
