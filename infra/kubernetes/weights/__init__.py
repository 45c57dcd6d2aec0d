"""How the model's weights reach the pods: fetched once, kept in the storage, copied to the nodes."""
