"""Judging, label policies, the review queue."""
