"""The tests: they mirror the tree, and start the real parts they need."""
