"""Which layouts meet a stack's targets, what each costs, and the lines that switch to it.

`search` looks at every layout of the catalogue and judges each by `planner/fit`: what the targets ask for (`demand`), what a pipeline
does under it (`serving`), and whether that is enough (`verdicts`).
"""
