"""A whole deployment without a cloud account: the real Pulumi engine and a real Kubernetes, with Azure stood in for."""
