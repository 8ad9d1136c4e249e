"""Floor 2: whoever judges. Frames in, judgments out; no lake, no Prefect."""
