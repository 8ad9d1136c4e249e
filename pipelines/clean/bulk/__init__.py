"""Cleaning of pools too big to be taken into the lake row by row: Parquet in, decisions out."""
