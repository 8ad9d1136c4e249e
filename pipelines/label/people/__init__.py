"""People in the loop: what they are asked, what they said, and how that becomes gold.

`reviews` is the truth and the desk shows it. Three things happen apart and wait for nobody: pushing
what is worth most, pulling what was said, and releasing a batch as gold, which a person approves.
"""
