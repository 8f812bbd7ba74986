"""From violations to one write: pure, so equal inputs give a byte-identical plan."""

from enforcer.plan.make import make_plan
from enforcer.plan.minimise import Minimum, minimise
from enforcer.plan.values import Draft, Judge, Mutate, Obstacle, Subject, Tools

__all__ = [
    "Draft",
    "Judge",
    "Minimum",
    "Mutate",
    "Obstacle",
    "Subject",
    "Tools",
    "make_plan",
    "minimise",
]
