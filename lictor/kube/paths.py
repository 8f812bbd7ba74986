"""URLs of the API server."""

from urllib.parse import quote

from lictor.model.names import Gvr, ObjectKey


def collection_path(resource: Gvr, namespace: str = "") -> str:
    """Return the URL path of all objects of a resource, or of those in one namespace."""
    scope = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return f"{resource.path}{scope}/{resource.resource}"


def object_path(key: ObjectKey) -> str:
    """Return the URL path of one object."""
    return f"{collection_path(key.resource, key.namespace)}/{quote(key.name, safe='')}"
