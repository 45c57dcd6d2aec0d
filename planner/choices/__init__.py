"""Which layouts meet a stack's targets, what each costs, and the lines that switch to it.

`load` is what the targets ask for, `serving` what one layout does under it, `verdicts` whether that is enough, `search` looks at
every layout of the catalogue. Pure Python, on top of `planner.performance`, which predicts.
"""
