"""Floor 1: what computes. The chat client, the embedder and the local services."""
