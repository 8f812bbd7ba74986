"""Who owns an object."""

from lictor.model.owner import FoundBy, Owner
from lictor.ownership import resolve_owner

KEYS = ("lictor.dev/owner", "lictor.dev/team")


def test_resolve_owner_takes_the_first_label_that_names_one() -> None:
    """Label keys are tried in order, and an empty value names nobody."""
    labels = {"lictor.dev/owner": "", "lictor.dev/team": "shop"}

    found = resolve_owner(labels, {}, label_keys=KEYS, registry={"shop"})

    assert found == Owner(name="shop", found_by=FoundBy.LABEL, known=True)


def test_resolve_owner_prefers_the_object_to_its_namespace() -> None:
    """The namespace is asked only where the object names nobody, with any key."""
    namespace = {"lictor.dev/owner": "platform"}

    own = resolve_owner({"lictor.dev/team": "shop"}, namespace, label_keys=KEYS, registry=())
    inherited = resolve_owner({}, namespace, label_keys=KEYS, registry=())

    assert own == Owner(name="shop", found_by=FoundBy.LABEL)
    assert inherited == Owner(name="platform", found_by=FoundBy.NAMESPACE)


def test_resolve_owner_without_labels_is_nobody() -> None:
    """Nobody is an owner too, and is not known even if the registry lists that name."""
    assert resolve_owner({}, {}, label_keys=KEYS, registry={"nobody"}) == Owner()
