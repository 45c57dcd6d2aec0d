"""The stand-in for Azure: a Pulumi resource provider named azure-native that keeps its resources in a file."""
