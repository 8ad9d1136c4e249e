"""Publish, export, train, examine, report."""
