"""Floor 0: what a row is, what a recipe is, how an id is made. Nothing here does I/O."""
