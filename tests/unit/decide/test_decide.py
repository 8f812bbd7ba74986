"""What `decide` says, clause by clause of the API server's own order of evaluation."""

import pytest

from lictor.decide import MAX_MESSAGE_BYTES, decide
from lictor.model.document import Document
from lictor.model.facts import Facts, Needs
from lictor.model.names import Gvk, Gvr, ObjectKey
from lictor.model.owner import FoundBy
from lictor.model.policy import StatusReason
from lictor.model.request import Operation, Origin, Request
from lictor.model.review import existing_review
from lictor.model.verdict import Cause, Outcome
from testkit.law import NAMESPACE, POD, cel, decided, facts, law, pod, policy, review

DENY = cel("false", message="mend it")
FAILS = cel("object.spec.missing == 1")


def existing(tree: dict[str, object]) -> Request:
    """Return the review of a Pod that exists."""
    document = Document.of(tree)  # type: ignore[arg-type]  # a tree of a test
    key = ObjectKey(Gvr("", "v1", "pods"), NAMESPACE, document.meta.name)
    return existing_review(document, key=key, kind=POD)


def test_decide_without_policies_allows_with_zero_verdicts() -> None:
    """No law forbids nothing; it is written out, not the accident of an empty list."""
    decision = decided(review(pod()), law(), Facts())

    assert decision.allowed
    assert decision.code == 200
    assert decision.verdicts == ()
    assert decision.cause is None


def test_decide_without_candidates_needs_no_facts() -> None:
    """Who is not asked needs to know nothing."""
    request = review(pod(), resource=Gvr("", "v1", "configmaps"))

    assert decided(request, law(policy("p", validations=DENY)), Facts()).allowed


def test_decide_asks_for_the_namespace_once() -> None:
    """The namespace is a fact; one that is known not to exist, or that failed, is not needed."""
    snapshot = law(policy("p", validations=cel("true")))
    request = review(pod())

    assert decide(request, snapshot, Facts()) == Needs(namespaces=frozenset({NAMESPACE}))
    assert decided(request, snapshot, Facts(namespaces={NAMESPACE: None})).allowed
    assert decided(request, snapshot, Facts(failures={f"namespace/{NAMESPACE}": "down"})).allowed


def test_decide_denies_with_code_reason_and_one_line_a_policy() -> None:
    """The message says which policy, what it wants, how to mend it and where."""
    snapshot = law(
        policy("b-second", validations=cel("false", message="write b", fieldPath="/spec/b")),
        policy(
            "a-first",
            title="Rule one.",
            validations=[
                *cel("false", message="write a", reason="Invalid"),
                *cel("false", message="write more"),
            ],
        ),
        policy("c-content", validations=cel("true")),
    )

    decision = decided(review(pod()), snapshot)

    assert not decision.allowed
    assert (decision.code, decision.reason) == (422, StatusReason.INVALID)
    assert decision.cause is Cause.POLICY
    assert decision.message == (
        "a-first: Rule one: write a; write more\nb-second: Rule of b-second: write b (at /spec/b)"
    )
    assert [verdict.outcome for verdict in decision.verdicts] == [
        Outcome.VIOLATED,
        Outcome.VIOLATED,
        Outcome.PASSED,
    ]


@pytest.mark.parametrize(
    ("enforcement", "allowed", "cause"),
    [
        pytest.param({}, False, Cause.ERROR, id="deny-by-default"),
        pytest.param({"onError": "allow"}, True, None, id="allow"),
        pytest.param({"admission": "warn"}, True, None, id="an-error-does-no-more-than-warn"),
        pytest.param({"admission": "audit"}, True, None, id="an-error-does-no-more-than-audit"),
    ],
)
def test_decide_treats_an_error_by_on_error(
    enforcement: dict[str, object], cause: Cause | None, *, allowed: bool
) -> None:
    """An error does what `onError` says, and never more than a violation would do."""
    snapshot = law(policy("p", validations=FAILS, enforcement=enforcement))  # type: ignore[arg-type]  # a table

    decision = decided(review(pod(spec={})), snapshot)

    assert (decision.allowed, decision.cause) == (allowed, cause)
    assert decision.verdicts[0].outcome is Outcome.ERROR
    assert "validations[0]: no such key: missing" in decision.verdicts[0].error


def test_decide_warns_of_violations_and_errors() -> None:
    """`admission: warn` admits with one warning a policy; `audit` says nothing to the user."""
    snapshot = law(
        policy("a", validations=DENY, enforcement={"admission": "warn"}),
        policy("b", validations=DENY, enforcement={"admission": "audit"}),
        policy("c", validations=FAILS, enforcement={"admission": "warn"}),
        policy("d", validations=FAILS, enforcement={"admission": "warn", "onError": "allow"}),
    )

    decision = decided(review(pod(spec={})), snapshot)

    assert decision.allowed
    assert len(decision.verdicts) == 4
    assert [warning.split(":")[0] for warning in decision.warnings] == ["a", "c"]


def test_decide_hears_every_rule_of_a_policy_beside_one_that_fails() -> None:
    """A rule that fails hides no violation of its own policy, even under `onError: allow`."""
    rules = [*FAILS, *DENY]
    snapshot = law(policy("p", validations=rules, enforcement={"onError": "allow"}))

    decision = decided(review(pod(spec={})), snapshot)

    assert not decision.allowed
    assert decision.verdicts[0].outcome is Outcome.ERROR
    assert [found.rule for found in decision.verdicts[0].violations] == ["validations[1]"]
    assert "mend it" in decision.message


def test_decide_lets_one_broken_policy_silence_no_other() -> None:
    """Errors before and after it leave a violation a violation."""
    snapshot = law(
        policy("a", validations=FAILS, enforcement={"onError": "allow"}),
        policy("b", validations=DENY),
        policy("c", validations=FAILS, enforcement={"onError": "allow"}),
    )

    decision = decided(review(pod(spec={})), snapshot)

    assert [verdict.outcome for verdict in decision.verdicts] == [
        Outcome.ERROR,
        Outcome.VIOLATED,
        Outcome.ERROR,
    ]
    assert decision.message.startswith("b: ")


@pytest.mark.parametrize(
    ("expressions", "outcome"),
    [
        pytest.param(["true", "true"], Outcome.VIOLATED, id="all-true"),
        pytest.param(["true", "false"], Outcome.SKIPPED, id="one-false"),
        pytest.param(["object.x.y == 1", "true"], Outcome.ERROR, id="one-fails"),
        pytest.param(["object.x.y == 1", "false"], Outcome.SKIPPED, id="false-wins-over-an-error"),
        pytest.param(["false", "object.x.y == 1"], Outcome.SKIPPED, id="in-any-order"),
    ],
)
def test_decide_reads_match_conditions_first(expressions: list[str], outcome: Outcome) -> None:
    """A match condition that is false skips the policy, whatever the others do."""
    conditions = [
        {"name": f"c{number}", "expression": text} for number, text in enumerate(expressions)
    ]
    snapshot = law(policy("p", matchConditions=conditions, validations=DENY))  # type: ignore[arg-type]  # a table

    assert decided(review(pod()), snapshot).verdicts[0].outcome is outcome


def test_decide_says_one_line_a_policy_whatever_the_object_holds() -> None:
    """What a message quotes cannot move the cursor of who reads it, nor add a line."""
    quoting = cel("false", messageExpression="'not ' + object.spec.word")
    snapshot = law(policy("a", validations=quoting))

    decision = decided(review(pod(spec={"word": "x\x1b[2Ky\x07"})), snapshot)

    assert decision.message.endswith("not x [2Ky ")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({"messageExpression": "' set ' + 'it '"}, "set it", id="trimmed"),
        pytest.param({"messageExpression": "'  '", "message": "plain"}, "plain", id="empty"),
        *(
            pytest.param({"messageExpression": text, "message": "plain"}, "plain", id=f"two-{text}")
            for text in (r"'a\nb'", r"'a\rb'", r"'a\u2028b'")
        ),
        pytest.param(
            {"messageExpression": "string(object.spec.no)", "message": "plain"}, "plain", id="fails"
        ),
        pytest.param(
            {
                "messageExpression": f"'{'é' * (MAX_MESSAGE_BYTES // 2 + 1)}'",
                "message": "plain",
            },
            "plain",
            id="too-long",
        ),
        pytest.param(
            {"messageExpression": "string(object.spec.no)"},
            "failed expression: 1 == 2",
            id="neither",
        ),
        pytest.param({}, "failed expression: 1 == 2", id="none"),
    ],
)
def test_decide_chooses_the_message(fields: dict[str, object], message: str) -> None:
    """messageExpression, else message, else the expression itself (KEP-3488)."""
    snapshot = law(policy("p", validations=cel("1 == 2", **fields)))  # type: ignore[arg-type]  # a table

    assert decided(review(pod(spec={})), snapshot).verdicts[0].violations[0].message == message


def test_decide_shows_null_for_what_is_not_there() -> None:
    """On CREATE oldObject is null, on DELETE object is."""
    created = law(policy("p", validations=cel("oldObject == null && object != null")))
    deleted = law(policy("p", validations=cel("object == null && oldObject != null")))
    gone = review(None, operation=Operation.DELETE, old_object=Document.of(pod()))

    assert decided(review(pod()), created).verdicts[0].outcome is Outcome.PASSED
    assert decided(gone, deleted).verdicts[0].outcome is Outcome.PASSED


def test_decide_shows_the_request_as_the_api_server_does() -> None:
    """`request` has neither uid nor objects, and empty fields are left out of it."""
    expression = (
        "request.operation == 'CREATE' && request.kind.kind == 'Pod' "
        "&& request.resource.group == '' && request.requestResource.resource == 'pods' "
        "&& request.namespace == 'shop' && request.name == 'web' && request.dryRun == false "
        "&& request.userInfo.username == 'alice' && !has(request.userInfo.uid) "
        "&& 'system:authenticated' in request.userInfo.groups "
        "&& !has(request.subResource) && !('uid' in request) && !('object' in request)"
    )
    snapshot = law(policy("p", validations=cel(expression)))

    verdict = decided(review(pod()), snapshot).verdicts[0]

    assert verdict.outcome is Outcome.PASSED, verdict.error


def test_decide_shows_the_namespace_without_its_bookkeeping() -> None:
    """`namespaceObject` has labels, but neither managedFields nor ownerReferences."""
    expression = (
        "namespaceObject.metadata.labels['tier'] == 'web' "
        "&& !has(namespaceObject.metadata.managedFields) "
        "&& !has(namespaceObject.metadata.ownerReferences)"
    )
    namespace = Document.of(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": NAMESPACE,
                "labels": {"tier": "web"},
                "managedFields": [{"manager": "kubectl"}],
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "1"}
                ],
            },
        }
    )
    snapshot = law(policy("p", validations=cel(expression)))

    verdict = decided(review(pod()), snapshot, Facts(namespaces={NAMESPACE: namespace})).verdicts[0]

    assert verdict.outcome is Outcome.PASSED, verdict.error


def test_decide_shows_no_namespace_beside_a_namespace() -> None:
    """A Namespace is judged with namespaceObject null, and needs no fact."""
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"]}]
    match = {"resourceRules": [{**rules[0], "resources": ["namespaces"]}]}
    snapshot = law(policy("p", match=match, validations=cel("namespaceObject == null")))  # type: ignore[arg-type]  # a table
    tree = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    request = review(
        Document.of(tree),  # type: ignore[arg-type]  # a tree
        resource=Gvr("", "v1", "namespaces"),
        kind=Gvk("", "v1", "Namespace"),
    )

    assert decided(request, snapshot, Facts()).verdicts[0].outcome is Outcome.PASSED


@pytest.mark.parametrize(
    "known",
    [
        pytest.param(Facts(namespaces={NAMESPACE: None}), id="does-not-exist"),
        pytest.param(Facts(failures={f"namespace/{NAMESPACE}": "timeout"}), id="failed"),
    ],
)
def test_decide_errs_only_for_policies_that_need_the_missing_namespace(known: Facts) -> None:
    """A selector or an expression that cannot see the namespace fails; others are judged."""
    match = {
        "resourceRules": [
            {
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": ["pods"],
            }
        ],
        "namespaceSelector": {"matchLabels": {"tier": "web"}},
    }
    variables = [{"name": "labels", "expression": "namespaceObject.metadata.labels"}]
    snapshot = law(
        policy("a-reads", validations=cel("namespaceObject == null")),
        policy("b-selects", match=match, validations=cel("true")),  # type: ignore[arg-type]  # a table
        policy("c-by-variable", variables=variables, validations=cel("size(variables.labels) > 9")),  # type: ignore[arg-type]  # a table
        policy("d-neither", validations=cel("true")),
    )

    decision = decided(review(pod()), snapshot, known)

    assert [verdict.outcome for verdict in decision.verdicts] == [
        Outcome.ERROR,
        Outcome.ERROR,
        Outcome.ERROR,
        Outcome.PASSED,
    ]
    assert "shop" in decision.verdicts[0].error


def test_decide_selects_by_namespace() -> None:
    """A policy whose namespace selector does not match gives no verdict."""
    match = {
        "resourceRules": [
            {
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": ["pods"],
            }
        ],
        "namespaceSelector": {"matchLabels": {"tier": "web"}},
    }
    snapshot = law(policy("p", match=match, validations=DENY))  # type: ignore[arg-type]  # a table

    assert decided(review(pod()), snapshot, facts({"tier": "db"})).verdicts == ()
    assert not decided(review(pod()), snapshot, facts({"tier": "web"})).allowed


def test_decide_errs_for_every_policy_where_the_object_cannot_be_read() -> None:
    """An object that is nested too deep is judged by nobody, and so denied by everybody."""
    raw = b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"},"spec":%s}' % (
        b"[" * 300 + b"]" * 300
    )
    snapshot = law(
        policy("a", validations=cel("true")),
        policy("b", validations=cel("true"), enforcement={"onError": "allow"}),
        policy("c", matchConditions=[{"name": "x", "expression": "false"}], validations=DENY),
    )

    decision = decided(review(Document(raw)), snapshot)

    assert not decision.allowed
    assert [verdict.outcome for verdict in decision.verdicts] == [Outcome.ERROR] * 3
    assert "nested deeper" in decision.message


def test_decide_never_acts_on_errors_behind_the_gate() -> None:
    """An existing object that cannot be evaluated is no violation, whatever onError says."""
    snapshot = law(policy("p", validations=FAILS, enforcement={"onError": "deny"}))

    decision = decided(existing(pod(spec={})), snapshot)

    assert decision.allowed
    assert decision.verdicts[0].outcome is Outcome.ERROR


def test_decide_counts_every_violation_behind_the_gate() -> None:
    """What the gate would only warn of is found behind it, without a warning."""
    snapshot = law(policy("p", validations=DENY, enforcement={"admission": "warn"}))

    decision = decided(existing(pod()), snapshot)

    assert not decision.allowed
    assert decision.warnings == ()


def test_decide_leaves_out_policies_that_are_off_behind_the_gate() -> None:
    """`existing: off` holds behind the gate alone."""
    snapshot = law(policy("p", validations=DENY, enforcement={"existing": "off"}))

    assert decided(existing(pod()), snapshot).verdicts == ()
    assert not decided(review(pod()), snapshot).allowed


def test_decide_fails_policies_that_want_a_user_behind_the_gate() -> None:
    """Nobody asks for an existing object: a rule about the user errs instead of passing."""
    snapshot = law(policy("p", validations=cel("request.userInfo.username != 'root'")))

    request = existing(pod())

    assert request.origin is Origin.EXISTING
    assert decided(request, snapshot).verdicts[0].outcome is Outcome.ERROR


def test_decide_asks_one_failure_class_or_all() -> None:
    """A webhook asks its own class; the enforcer asks all."""
    snapshot = law(
        policy("a", validations=DENY),
        policy("b", validations=DENY, enforcement={"class": "closed"}),
    )

    def judged(request: Request) -> list[str]:
        return [verdict.bound.id for verdict in decided(request, snapshot).verdicts]

    assert judged(review(pod(), failure_class="open")) == ["a"]
    assert judged(review(pod(), failure_class="closed")) == ["b"]
    assert judged(existing(pod())) == ["a", "b"]


def test_decide_names_the_owner_by_object_then_namespace() -> None:
    """The owner stands on every decision; on DELETE the old object names it."""
    snapshot = law(policy("p", validations=cel("true")))
    labelled = pod()
    labelled["metadata"] = {"name": "web", "labels": {"lictor.dev/owner": "team-a"}}
    gone = review(None, operation=Operation.DELETE, old_object=Document.of(labelled))

    own = decided(gone, snapshot, facts({"lictor.dev/owner": "team-b"})).owner
    inherited = decided(review(pod()), snapshot, facts({"lictor.dev/owner": "team-b"})).owner

    assert (own.name, own.found_by) == ("team-a", FoundBy.LABEL)
    assert (inherited.name, inherited.found_by) == ("team-b", FoundBy.NAMESPACE)


def test_decide_digests_the_facts_that_it_read() -> None:
    """Other facts, another digest; facts about what was not asked do not count."""
    snapshot = law(policy("p", validations=cel("true")))
    known = facts({"a": "1"})
    more = Facts(namespaces={**known.namespaces, **facts(name="other").namespaces})

    digests = [
        decided(review(pod()), snapshot, facts_).facts
        for facts_ in (known, more, facts({"a": "2"}))
    ]

    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_decide_quotes_no_value_of_a_secret() -> None:
    """A message expression could carry a value into the denial; for a Secret it isn't asked."""
    rules = cel(
        "false", message="rotate it", messageExpression="'it is ' + string(object.data.key)"
    )
    secrets = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"]}
    match = {"resourceRules": [{**secrets, "resources": ["secrets"]}]}
    tree = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "a"},
        "data": {"key": "aHU="},
    }
    request = review(tree, resource=Gvr("", "v1", "secrets"), kind=Gvk("", "v1", "Secret"))

    decision = decided(request, law(policy("a", match=match, validations=rules)))

    assert not decision.allowed
    assert "aHU=" not in decision.message
    assert "rotate it" in decision.message
