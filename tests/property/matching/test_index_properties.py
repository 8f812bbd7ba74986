"""The index never changes what matches: it only saves looking."""

from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.matching import Index, mismatch
from lictor.model.names import BoundPolicyId, Digest, Gvr, PolicyName
from lictor.model.policy import (
    BoundPolicy,
    CelRule,
    Match,
    Policy,
    ResourceRule,
    Severity,
    Source,
    Validation,
)
from lictor.model.request import Operation
from testkit.law import pod, review

GROUPS = ("", "apps", "*")
RESOURCES = ("pods", "deployments", "pods/exec", "pods/*", "*", "*/scale", "*/*")
OPERATIONS = ("CREATE", "UPDATE", "*")


def _some(values: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True).map(tuple)


RULES = st.builds(
    ResourceRule,
    api_groups=_some(GROUPS),
    api_versions=_some(("v1", "v2", "*")),
    operations=_some(OPERATIONS),
    resources=_some(RESOURCES),
)
MATCHES = st.builds(
    Match,
    resource_rules=st.lists(RULES, min_size=1, max_size=3).map(tuple),
    exclude_resource_rules=st.lists(RULES, max_size=1).map(tuple),
)


def _bound(number: int, match: Match) -> BoundPolicy:
    name = f"p{number}"
    return BoundPolicy(
        id=BoundPolicyId(name),
        policy=Policy(
            name=PolicyName(name),
            title=name,
            severity=Severity.LOW,
            match=match,
            validations=(Validation(rule=CelRule(expression="true")),),
            source=Source(name="test"),
            digest=Digest("sha256:0"),
        ),
    )


@given(
    matches=st.lists(MATCHES, max_size=6),
    group=st.sampled_from(["", "apps"]),
    resource=st.sampled_from(["pods", "deployments", "nodes"]),
    sub=st.sampled_from(["", "exec", "scale"]),
    operation=st.sampled_from([Operation.CREATE, Operation.UPDATE]),
)
@settings(max_examples=300, deadline=None)
def test_candidates_are_exactly_what_matches(
    matches: list[Match], group: str, resource: str, *, sub: str, operation: Operation
) -> None:
    """For any rules and any request, looking in the index equals looking at every policy."""
    policies = [_bound(number, match) for number, match in enumerate(matches)]
    request = review(
        pod(), resource=Gvr(group, "v1", resource), sub_resource=sub, operation=operation
    )

    found = Index(policies).candidates(request)

    assert found == tuple(
        bound for bound in policies if mismatch(bound.policy.match, request) is None
    )
