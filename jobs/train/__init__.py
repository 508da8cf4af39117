"""Compares the candidate models and refits the champion."""
