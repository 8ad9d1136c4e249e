"""What each source and each voice of a version is worth: facts, and what leaving it out costs."""
