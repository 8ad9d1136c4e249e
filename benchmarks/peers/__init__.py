"""One script a tool, each run by the Python of its own environment (see `environments.py`)."""
