"""The gold loop on real labelled pools with planted noise: see `python -m benchmarks.loop -h`."""
