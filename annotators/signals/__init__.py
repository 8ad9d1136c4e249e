"""Cheap signals: scores without a judge's prompt, pure functions of arrays and frames."""
