"""People as annotators: how well they agree, how far to trust each, and what their time buys."""
