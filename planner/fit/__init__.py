"""How one stack fits one kind of node: its layers and pods, the memory they take, and what one of its pipelines serves."""
