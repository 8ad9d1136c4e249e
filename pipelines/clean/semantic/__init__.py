"""What says the same in other words: unit vectors in; clusters, pairs, groups and neighbours out.

`kmeans.py` parts vectors into blocks, `joining.py` finds all pairs from a similarity on, exactly,
`groups.py` makes groups of prompts of them, `diversity.py` picks what is least alike, and
`retrieval.py` finds the nearest texts of a corpus.
"""
