"""Builds the top-N lists of every touch point and market."""
