"""The catalogue, the stage runner (wanted minus done) and imports."""
