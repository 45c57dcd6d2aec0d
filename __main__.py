"""The program `pulumi up` runs. What it does is in stacks/."""

from stacks.program import main

main()
