"""The registry that a container image comes from."""


def image_reference(image: str, registry: str) -> str:
    """Returns `image` as it is when its first part names a registry host, else under `registry`.

    The rule is the container runtimes' own: the first part is a host when it has a dot or a colon, or is `localhost`.
    """
    first, slash, _ = image.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    return image if is_host else f"{registry}/{image}"
