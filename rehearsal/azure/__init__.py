"""The stand-in for Azure: a Pulumi resource provider named azure-native, whose cloud is a file."""
