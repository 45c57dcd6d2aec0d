"""Facts of the world: GPUs, VM sizes, prices, regions, models, and what AKS and Azure take for themselves. All with their sources."""
