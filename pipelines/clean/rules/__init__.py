"""Named quality rules: small pure functions from texts or pairs to a value each. What a value is
held against stands in the recipe; `pipelines.clean.quality` does the holding."""
