"""What AKS does once Azure accepted a cluster: a real control plane, its nodes, and what AKS runs beside them."""
