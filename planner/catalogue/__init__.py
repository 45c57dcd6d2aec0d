"""Facts about the world: GPUs, VM sizes, prices, regions, models, and what AKS and Azure reserve for themselves, with their sources."""
