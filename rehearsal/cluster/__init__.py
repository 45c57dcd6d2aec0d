"""What AKS does for an accepted cluster: it runs a real control plane, its nodes, and the parts that AKS adds."""
