"""The YAML of settings: read like that of policies, so that both know the same YAML."""

from lictor.errors import SettingsError
from lictor.jsontypes import Json
from lictor.policy.yamltree import YamlError, read_documents


def read_yaml(data: bytes, *, name: str) -> Json:
    """Read one YAML document, None where there is none; `name` is what errors call it.

    Raises:
        SettingsError: it is more than one document, or not the YAML that is read here.
    """
    try:
        documents = read_documents(data)
    except YamlError as err:
        where = f"{name}: line {err.line}" if err.line else name
        raise SettingsError(f"{where}: {err}") from err
    if len(documents) > 1:
        line = documents[1].line
        raise SettingsError(f"{name}: line {line}: not YAML of settings: a second document")
    return documents[0].value if documents else None
