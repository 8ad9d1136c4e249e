"""The gold loop, as arithmetic: what people said lights up what machines say. No lake, no model."""
