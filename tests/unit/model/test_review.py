"""The review of an object that exists already, and what rules read of a request."""

from lictor.model.document import Document
from lictor.model.names import Gvk, Gvr, ObjectKey
from lictor.model.request import Operation, Origin, Phase, UserInfo
from lictor.model.review import (
    existing_review,
    mutation_review,
    request_variable,
    without_nulls,
)
from testkit.law import pod, review

DEPLOYMENTS = Gvr("apps", "v1", "deployments")
DEPLOYMENT = Gvk("apps", "v1", "Deployment")


def test_existing_review_is_a_create_by_nobody() -> None:
    """All failure classes are asked; there is neither an old object nor a user."""
    tree = {"metadata": {"name": "web", "managedFields": [{"manager": "kubectl"}]}}
    document = Document.of(tree)  # type: ignore[arg-type]  # a tree
    key = ObjectKey(DEPLOYMENTS, "shop", "web")

    request = existing_review(document, key=key, kind=DEPLOYMENT)

    assert (request.origin, request.phase) == (Origin.EXISTING, Phase.VALIDATE)
    assert (request.operation, request.failure_class) == (Operation.CREATE, "")
    assert (request.object, request.old_object, request.user) == (document, None, None)
    assert (request.kind, request.request_kind) == (DEPLOYMENT, DEPLOYMENT)
    assert (request.resource, request.request_resource) == (DEPLOYMENTS, DEPLOYMENTS)
    assert (request.namespace, request.name) == ("shop", "web")
    assert request.object is not None
    assert request.object.tree == tree


def test_mutation_review_asks_for_mutations() -> None:
    """It is the same review in the other phase."""
    document = Document.of(pod())
    key = ObjectKey(Gvr("", "v1", "pods"), "shop", "web")

    request = mutation_review(document, key=key, kind=Gvk("", "v1", "Pod"))

    assert (request.origin, request.phase) == (Origin.EXISTING, Phase.MUTATE)


def test_existing_review_of_a_namespace_names_itself() -> None:
    """The API server gives a Namespace its own name as the namespace of the request."""
    key = ObjectKey(Gvr("", "v1", "namespaces"), "", "shop")
    document = Document.of({"metadata": {"name": "shop"}})

    request = existing_review(document, key=key, kind=Gvk("", "v1", "Namespace"))

    assert (request.namespace, request.name) == ("shop", "shop")


def test_request_variable_has_the_fields_of_an_admission_request() -> None:
    """Names are those of admission/v1; uid and objects are not among them."""
    user = UserInfo(username="a", uid="1", groups=("g",), extra={"k": ("v",)})
    options = Document(b'{"apiVersion":"meta.k8s.io/v1","kind":"CreateOptions"}')
    request = review(
        pod(), user=user, options=options, sub_resource="exec", request_sub_resource="exec"
    )

    assert request_variable(request) == {
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
        "requestResource": {"group": "", "version": "v1", "resource": "pods"},
        "subResource": "exec",
        "requestSubResource": "exec",
        "operation": "CREATE",
        "name": "web",
        "namespace": "shop",
        "dryRun": False,
        "userInfo": {"username": "a", "uid": "1", "groups": ["g"], "extra": {"k": ["v"]}},
        "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
    }


def test_without_nulls_takes_members_and_leaves_elements() -> None:
    """A member that is null is absent; an element that is null is an element."""
    assert without_nulls({"a": None, "b": [None, {"c": None}], "d": 0}) == {"b": [None, {}], "d": 0}
