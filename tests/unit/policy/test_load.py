"""Policies are loaded all or nothing, and a fault says where and what was expected."""

from datetime import timedelta

import msgspec
import pytest

from lictor.jsontypes import Json
from lictor.model.policy import ActionKind, AdmissionAction, Existing, OnError, Severity
from lictor.ownership import Ownership
from lictor.policy import Fault, Overrides, PolicyLoadError, load
from lictor.ports.policy_source import PolicyFile
from testkit.law import PODS, cel, law, policy

GOOD = cel("true")


def faults_of(*files: PolicyFile, overrides: Overrides | None = None) -> tuple[Fault, ...]:
    """Return the faults for which `files` are refused."""
    with pytest.raises(PolicyLoadError, match=r"\w") as caught:
        load(files, overrides)
    return caught.value.faults


def yaml_file(text: str, name: str = "p.yaml") -> PolicyFile:
    """Return a file with this text."""
    return PolicyFile(name, text.encode())


HEAD = """\
apiVersion: lictor.dev/v1alpha1
kind: Policy
metadata: {name: p}
spec:
  title: T
  severity: high
  match:
    resourceRules:
      - apiGroups: [apps]
        apiVersions: [v1]
        operations: [CREATE]
        resources: [deployments]
"""
RULES = """\
  validations:
    - cel: {expression: "true"}
"""


def test_load_reads_the_example_of_the_format_with_its_defaults() -> None:
    """Enforcement has the documented defaults, and enforcing existing objects is opt-in."""
    snapshot = load([yaml_file(HEAD + RULES)])

    found = snapshot.policies[0].policy
    assert (found.name, found.title, found.severity) == ("p", "T", Severity.HIGH)
    assert found.enforcement.admission is AdmissionAction.DENY
    assert found.enforcement.on_error is OnError.DENY
    assert found.enforcement.existing is Existing.INFORM
    assert found.enforcement.action is ActionKind.REVERT
    assert found.enforcement.settle == timedelta(seconds=5)
    assert found.enforcement.failure_class == "open"
    assert found.source.name == "p.yaml"


def test_load_reads_every_field_of_enforcement() -> None:
    """What is written replaces the defaults."""
    enforcement: Json = {
        "admission": "audit",
        "onError": "allow",
        "existing": "enforce",
        "action": "scale",
        "settle": "2m",
        "class": "closed",
        "scale": {"minimum": 1, "maximum": 3},
    }

    found = law(policy("p", validations=GOOD, enforcement=enforcement)).policies[0].policy

    assert found.enforcement.admission is AdmissionAction.AUDIT
    assert found.enforcement.on_error is OnError.ALLOW
    assert found.enforcement.existing is Existing.ENFORCE
    assert found.enforcement.settle == timedelta(minutes=2)
    assert found.enforcement.failure_class == "closed"
    assert found.enforcement.scale is not None
    assert (found.enforcement.scale.minimum, found.enforcement.scale.maximum) == (1, 3)


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        pytest.param(
            "  validatons: []\n",
            "p.yaml:13: spec.validatons: there is no such field; expected one of enforcement, "
            "match, matchConditions, mutations, severity, title, validations, variables; "
            "did you mean validations?",
            id="unknown-field",
        ),
        pytest.param(
            "  parameters: {}\n",
            "p.yaml:13: spec.parameters: nothing enforces this field yet; expected it left out",
            id="field-that-comes-later",
        ),
        pytest.param(
            "  paramKind: {}\n",
            "p.yaml:13: spec.paramKind: nothing enforces this field yet; expected it left out",
            id="field-of-another-format",
        ),
        pytest.param(
            "  enforcement: {admission: Deny}\n",
            'p.yaml:13: spec.enforcement.admission: it is "Deny"; expected one of deny, warn, '
            "audit; did you mean deny?",
            id="unknown-choice",
        ),
        pytest.param(
            "  enforcement: {settle: 5}\n",
            "p.yaml:13: spec.enforcement.settle: it is 5; expected a duration: a number with ms, "
            "s, m or h, as 5s",
            id="duration-without-unit",
        ),
        pytest.param(
            "  enforcement: {settle: 25h}\n",
            'p.yaml:13: spec.enforcement.settle: it is "25h"; expected at most 86400s',
            id="duration-too-long",
        ),
        pytest.param(
            "  enforcement: {class: opne}\n",
            'p.yaml:13: spec.enforcement.class: the gate serves no class "opne"; '
            "expected one of open, closed; did you mean open?",
            id="unknown-class",
        ),
        pytest.param(
            "  enforcement: {action: scale}\n",
            "p.yaml:13: spec.enforcement.scale: it is missing; expected scale.maximum beside "
            "action: scale, and nowhere else",
            id="scale-without-bounds",
        ),
        pytest.param(
            "  enforcement: {action: scale, scale: {minimum: 3, maximum: 1}}\n",
            "p.yaml:13: spec.enforcement.scale.maximum: it is 1; expected at least 3",
            id="bounds-that-cross",
        ),
        pytest.param(
            "  enforcement: {action: patch}\n",
            "p.yaml:13: spec.enforcement.action: there are no mutations to patch by; "
            "expected mutations",
            id="patch-without-mutations",
        ),
        pytest.param(
            "  variables: [{name: 1a, expression: '1'}]\n",
            'p.yaml:13: spec.variables[0].name: it is "1a"; expected an identifier',
            id="variable-name",
        ),
        pytest.param(
            "  variables:\n    - {name: a, expression: '1'}\n    - {name: a, expression: '2'}\n",
            'p.yaml:15: spec.variables[1].name: "a" is there twice',
            id="variable-twice",
        ),
        pytest.param(
            "  matchConditions: {}\n",
            "p.yaml:13: spec.matchConditions: it is a mapping; expected a list",
            id="mapping-for-a-list",
        ),
        pytest.param(
            "  mutations: [{jsonPatch: [{op: add, path: spec.replicas, value: 1}]}]\n",
            'p.yaml:13: spec.mutations[0].jsonPatch[0].path: it is "spec.replicas"; expected a '
            "JSON Pointer (RFC 6901), where / parts the names and ~1 stands for a /; "
            "did you mean /spec/replicas?",
            id="dotted-path",
        ),
        pytest.param(
            "  mutations: [{jsonPatch: [{op: move, path: /a}]}]\n",
            "p.yaml:13: spec.mutations[0].jsonPatch[0].from: it is missing; expected a value",
            id="move-without-from",
        ),
        pytest.param(
            "  mutations: [{applyConfiguration: {}}]\n",
            "p.yaml:13: spec.mutations[0].applyConfiguration: nothing enforces this field yet; "
            "expected it left out",
            id="mutation-that-comes-later",
        ),
    ],
)
def test_load_says_exactly_what_is_wrong(spec: str, fault: str) -> None:
    """File, line, field, what is there, what was expected, and the nearest valid name."""
    assert fault in [str(found) for found in faults_of(yaml_file(HEAD + spec + RULES))]


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        pytest.param(
            {"operations": ["CREAT"]},
            'operations[0]: it is "CREAT"; expected one of CREATE, UPDATE, DELETE, CONNECT, *; '
            "did you mean CREATE?",
            id="operation",
        ),
        pytest.param(
            {"resources": ["Deployment"]},
            'resources[0]: it is "Deployment"; expected a resource as in a URL: plural, in lower '
            "case, as pods or pods/exec; did you mean deployments?",
            id="kind-for-a-resource",
        ),
        pytest.param(
            {"apiGroups": ["apps/v1"]},
            'apiGroups[0]: it is "apps/v1"; expected an API group without its version, as apps',
            id="version-in-the-group",
        ),
        pytest.param(
            {"apiVersions": ["apps/v1"]},
            'apiVersions[0]: it is "apps/v1"; expected a version without its group, as v1',
            id="group-in-the-version",
        ),
        pytest.param(
            {"resources": ["*"]},
            'resources[0]: it is "*"; expected each one by its name: nothing expands a wildcard '
            "yet",
            id="wildcard",
        ),
        pytest.param(
            {"resources": ["*/scale"]},
            'resources[0]: it is "*/scale"; expected each one by its name',
            id="wildcard-with-subresource",
        ),
        pytest.param(
            {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"]},
            "resources[0]: policies are never asked about tokenreviews",
            id="never-judged",
        ),
        pytest.param(
            {"operations": []},
            "operations: it is empty; expected at least one item",
            id="empty-list",
        ),
        pytest.param(
            {"resources": "pods"}, 'resources: it is "pods"; expected a list', id="text-for-a-list"
        ),
        pytest.param(
            {"scope": "namespaced"},
            'scope: it is "namespaced"; expected one of *, Cluster, Namespaced; '
            "did you mean Namespaced?",
            id="scope",
        ),
        pytest.param(
            {"verbs": ["get"]}, "verbs: there is no such field", id="unknown-field-of-a-rule"
        ),
    ],
)
def test_load_checks_resource_rules(rule: dict[str, Json], fault: str) -> None:
    """Mistakes that would make a rule match nothing are refused, with how to mend them."""
    match: Json = {"resourceRules": [{**PODS, **rule}]}

    found = [str(one) for one in faults_of(policy("p", match=match, validations=GOOD))]

    assert any(f"spec.match.resourceRules[0].{fault}" in one for one in found), found


def test_load_accepts_wildcards_where_nothing_is_registered() -> None:
    """Operations, subresources and excluding rules may be wide."""
    rule: Json = {**PODS, "operations": ["*"], "resources": ["pods/*"]}
    wide: Json = {**PODS, "apiGroups": ["*"], "resources": ["*/status"]}
    match: Json = {"resourceRules": [rule], "excludeResourceRules": [wide]}

    assert len(law(policy("p", match=match, validations=GOOD)).policies) == 1


@pytest.mark.parametrize(
    ("selector", "fault"),
    [
        pytest.param({"matchLabels": {"a b": "x"}}, "the key is", id="key"),
        pytest.param({"matchLabels": {"a": "x y"}}, "the value is", id="value"),
        pytest.param({"matchLabels": {"a": 1}}, "it is 1; expected a text in quotes", id="number"),
        pytest.param(
            {"matchExpressions": [{"key": "a", "operator": "in", "values": ["x"]}]},
            "did you mean In?",
            id="operator",
        ),
        pytest.param(
            {"matchExpressions": [{"key": "a", "operator": "In"}]},
            "expected at least one value for In",
            id="in-without-values",
        ),
        pytest.param(
            {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]},
            "Exists compares no values",
            id="exists-with-values",
        ),
    ],
)
def test_load_checks_selectors(selector: Json, fault: str) -> None:
    """Selectors are checked as the API server checks them."""
    match: Json = {"resourceRules": [PODS], "objectSelector": selector}

    found = [str(one) for one in faults_of(policy("p", match=match, validations=GOOD))]

    assert any(fault in one and "spec.match.objectSelector" in one for one in found), found


def test_load_accepts_only_equivalent_matching() -> None:
    """`matchPolicy: Exact` has no mechanism."""
    equivalent: Json = {"resourceRules": [PODS], "matchPolicy": "Equivalent"}
    exact: Json = {"resourceRules": [PODS], "matchPolicy": "Exact"}

    assert law(policy("p", match=equivalent, validations=GOOD)).policies
    found = faults_of(policy("p", match=exact, validations=GOOD))
    assert (found[0].field, found[0].expected) == ("spec.match.matchPolicy", "one of Equivalent")


@pytest.mark.parametrize(
    ("spec", "field", "text"),
    [
        pytest.param(
            {"validations": cel("object.spec.")},
            "spec.validations[0].cel.expression",
            "line 1, column",
            id="syntax",
        ),
        pytest.param(
            {"validations": cel("subject.spec == 1")},
            "spec.validations[0].cel.expression",
            "undeclared reference to 'subject",
            id="undeclared",
        ),
        pytest.param(
            {"validations": cel("'yes'")},
            "spec.validations[0].cel.expression",
            "bool",
            id="no-bool",
        ),
        pytest.param(
            {"validations": cel("true", messageExpression="object.nope.x")},
            "spec.validations[0].cel.messageExpression",
            "string",
            id="dynamic-message",
        ),
        pytest.param(
            {
                "validations": GOOD,
                "matchConditions": [{"name": "c", "expression": "variables.x == 1"}],
                "variables": [{"name": "x", "expression": "1"}],
            },
            "spec.matchConditions[0].expression",
            "no variable 'x' before this",
            id="variables-in-a-condition",
        ),
        pytest.param(
            {
                "validations": GOOD,
                "variables": [
                    {"name": "a", "expression": "variables.b"},
                    {"name": "b", "expression": "1"},
                ],
            },
            "spec.variables[0].expression",
            "b",
            id="variable-of-a-later-one",
        ),
        pytest.param(
            {"validations": GOOD, "variables": [{"name": "unused", "expression": "1 +"}]},
            "spec.variables[0].expression",
            "the variable 'unused': line 1, column 4",
            id="unused-variable",
        ),
        pytest.param(
            {"validations": cel("params.x == 1")},
            "spec.validations[0].cel.expression",
            "params",
            id="params-without-parameters",
        ),
        pytest.param(
            {"mutations": [{"cel": {"expression": "'x'"}}]},
            "spec.mutations[0].cel.expression",
            "JSONPatch",
            id="no-patch",
        ),
    ],
)
def test_load_compiles_every_expression(spec: dict[str, Json], field: str, text: str) -> None:
    """An expression that does not compile is a fault of its field, used or not."""
    found = faults_of(policy("p", **spec))

    assert [one.field for one in found] == [field]
    assert text in found[0].what


def test_load_points_to_the_line_of_an_expression() -> None:
    """What compiling finds has a line too."""
    text = HEAD + "  validations:\n    - cel:\n        message: m\n        expression: 1 +\n"

    assert faults_of(yaml_file(text))[0].line == 16


def test_load_wants_exactly_one_engine_a_rule() -> None:
    """A rule without an engine, or with two, says so."""
    neither = faults_of(policy("p", validations=[{"cell": {"expression": "true"}}]))
    both = faults_of(
        policy("p", validations=[{"cel": {"expression": "true"}, "jsonSchema": {"schema": {}}}])
    )
    rego = faults_of(policy("p", validations=[{"rego": "package x"}]))

    assert neither[0].nearest == "cel"
    assert "it has cel and jsonSchema; expected exactly one" in str(both[0])
    assert "nothing enforces this field yet" in str(rego[0])


def test_load_wants_a_message_for_long_expressions() -> None:
    """An expression of several lines cannot stand in for the message."""
    found = faults_of(policy("p", validations=cel("true &&\n true")))

    assert found[0].field == "spec.validations[0].cel.message"


def test_load_wants_rules() -> None:
    """A policy that says nothing is refused."""
    assert "expected validations or mutations" in str(faults_of(policy("p"))[0])


@pytest.mark.parametrize(
    ("document", "text"),
    [
        pytest.param({"kind": "Policy"}, "apiVersion: it is missing", id="no-version"),
        pytest.param(
            {"apiVersion": "lictor.dev/v1", "kind": "Policy"},
            "did you mean lictor.dev/v1alpha1?",
            id="other-version",
        ),
        pytest.param(
            {"apiVersion": "lictor.dev/v1alpha1", "kind": "Polcy"},
            "did you mean Policy?",
            id="kind",
        ),
        pytest.param([1], "it is a list; expected a mapping", id="list"),
    ],
)
def test_load_says_what_is_no_policy(document: Json, text: str) -> None:
    """A wrong kind is one fault, not twenty."""
    found = faults_of(PolicyFile("p.yaml", msgspec.json.encode(document)))

    assert text in "\n".join(map(str, found))
    assert len(found) <= 3


@pytest.mark.parametrize("name", ["P", "a.b", "-a", "a" * 64, "ä"])
def test_load_wants_names_that_fit_a_label(name: str) -> None:
    """A policy's name is its id in verdicts, records, metrics and labels."""
    found = faults_of(policy(name, validations=GOOD))

    assert found[0].field == "metadata.name"


def test_load_refuses_two_policies_of_one_name() -> None:
    """The second one says where the first stands."""
    twice = HEAD + RULES + "---\n" + HEAD + RULES

    found = faults_of(yaml_file(twice))

    assert str(found[0]) == (
        'p.yaml:18: metadata.name: "p" is taken by p.yaml:1; expected a name of its own'
    )


def test_load_reads_several_documents_of_a_file() -> None:
    """A file may hold more than one policy."""
    two = HEAD + RULES + "---\n" + HEAD.replace("name: p", "name: q") + RULES

    assert [bound.id for bound in load([yaml_file(two)]).policies] == ["p", "q"]


def test_load_is_all_or_nothing_and_tells_every_fault() -> None:
    """One bad file refuses the good ones too, and no fault hides another."""
    found = faults_of(
        policy("good", validations=GOOD),
        yaml_file("a: *x", "bad.yaml"),
        yaml_file("", "empty.yaml"),
        policy("worse", severity="hgh", validations=GOOD),
    )

    assert [(fault.file, fault.nearest) for fault in found] == [
        ("bad.yaml", ""),
        ("empty.yaml", ""),
        ("worse.yaml", "high"),
    ]


def test_load_error_shows_a_bounded_number_of_faults() -> None:
    """A message stays readable; the error has all faults."""
    files = [policy(f"p{number}", severity="no", validations=GOOD) for number in range(30)]

    with pytest.raises(PolicyLoadError, match="and 10 more faults") as caught:
        load(files)

    assert len(caught.value.faults) == 30


def test_load_digest_is_of_the_contents() -> None:
    """Order, file names, comments and white space change nothing; every value does."""
    plain = load([yaml_file(HEAD + RULES), policy("q", validations=GOOD)])
    moved = load(
        [policy("q", validations=GOOD), yaml_file("# moved\n\n" + HEAD + RULES, "elsewhere.yaml")]
    )
    changed = load(
        [yaml_file(HEAD + RULES.replace("true", "false")), policy("q", validations=GOOD)]
    )

    assert plain.digest == moved.digest
    assert plain.digest != changed.digest
    assert plain.policies[0].policy.digest != changed.policies[0].policy.digest


def test_load_digest_covers_settings_that_change_what_is_done() -> None:
    """Overrides and the registry of owners are law too."""
    file = policy("p", validations=GOOD)

    digests = {
        load([file]).digest,
        load([file], Overrides(existing={"p": Existing.ENFORCE})).digest,
        load([file], Overrides(settle_seconds={"p": 0.5})).digest,
        load([file], ownership=Ownership(registry=frozenset({"team-a"}))).digest,
        load([file], ownership=Ownership(label_keys=("team",))).digest,
        load([]).digest,
    }

    assert len(digests) == 6


def test_load_applies_overrides() -> None:
    """Settings switch enforcement on existing objects on, policy by policy."""
    overrides = Overrides(existing={"p": Existing.ENFORCE}, settle_seconds={"p": 0})

    snapshot = law(
        policy("p", validations=GOOD), policy("q", validations=GOOD), overrides=overrides
    )

    modes = [bound.policy.enforcement.existing for bound in snapshot.policies]
    assert modes == [Existing.ENFORCE, Existing.INFORM]
    assert snapshot.policies[0].policy.enforcement.settle == timedelta(0)


def test_load_refuses_overrides_of_unknown_policies() -> None:
    """A typo in the settings would leave a policy unenforced."""
    overrides = Overrides(existing={"prod": Existing.ENFORCE}, settle_seconds={"x": 1})

    found = faults_of(policy("prd", validations=GOOD), overrides=overrides)

    assert [(fault.field, fault.nearest) for fault in found] == [
        ("policies.existing.prod", "prd"),
        ("policies.settleSeconds.x", ""),
    ]


@pytest.mark.parametrize("seconds", [-1, 86_401, float("nan"), float("inf")])
def test_load_refuses_a_settle_that_is_no_time(seconds: float) -> None:
    """A wait below zero, above a day, or of no length at all is a fault of the settings."""
    found = faults_of(
        policy("p", validations=GOOD), overrides=Overrides(settle_seconds={"p": seconds})
    )

    assert [(fault.field, fault.expected) for fault in found] == [
        ("policies.settleSeconds.p", "0 to 86400")
    ]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        pytest.param(
            {"mutations": [{"cel": {"expression": "[]"}}]},
            "without validations nothing is ever found",
            id="m",
        ),
        pytest.param(
            {
                "validations": GOOD,
                "match": {"resourceRules": [{**PODS, "operations": ["DELETE"]}]},
            },
            "an existing object is reviewed as a CREATE, which no rule names",
            id="delete",
        ),
    ],
)
def test_load_refuses_enforcement_that_cannot_happen(spec: dict[str, Json], text: str) -> None:
    """`existing: enforce` that would silently do nothing is refused, from settings too."""
    overrides = Overrides(existing={"p": Existing.ENFORCE})

    found = faults_of(policy("p", **spec), overrides=overrides)

    assert any(text in fault.what for fault in found), found


def test_load_of_nothing_is_an_empty_snapshot() -> None:
    """No files are no policies; whoever reads them decides whether that may be."""
    assert load([]).policies == ()
