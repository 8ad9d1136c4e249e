"""The gold loop in the lake: what people said lights up what machines say of a whole pool."""
