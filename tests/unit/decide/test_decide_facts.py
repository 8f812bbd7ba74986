"""The digest of the facts tells everything that a replay needs."""

from lictor.model.facts import Facts
from testkit.law import NAMESPACE, cel, decided, law, pod, policy, review


def test_decide_digests_what_could_not_be_read() -> None:
    """A replay needs the facts that failed as well as those that were read."""
    snapshot = law(policy("a", validations=cel("true")))
    name = f"namespace/{NAMESPACE}"

    digests = {
        decided(review(pod()), snapshot, given).facts
        for given in (
            Facts(namespaces={NAMESPACE: None}),
            Facts(failures={name: "down"}),
            Facts(failures={name: "no answer in time"}),
        )
    }

    assert len(digests) == 3
