"""Measured claims, runnable: `make bench`."""
