"""Dedup, splits, filters and mixing."""
