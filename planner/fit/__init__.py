"""One stack on one kind of node: its layers and pods, the memory they take, and what a pipeline of it serves."""
