"""Which layouts meet a stack's targets, what each costs, and what would be cheapest if something were different.

`search` looks at every layout of the catalogue and judges each with `planner/fit`: what the targets ask for (`demand`), what a pipeline
does under that load (`serving`), and whether it is enough (`verdicts`).
"""
