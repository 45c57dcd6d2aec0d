"""What exists: Azure's resources and Kubernetes' objects, made by Pulumi from a plan and a workload."""
