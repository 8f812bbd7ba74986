"""Joins the stages: workers over keys, and what has to happen beside them."""

from enforcer.loop.budgets import Budgets
from enforcer.loop.episodes import Episodes
from enforcer.loop.heat import Heats
from enforcer.loop.parts import Limits, Memory, Stages
from enforcer.loop.reconcile import Reconciler
from enforcer.loop.runner import Loop, Pace
from enforcer.loop.surroundings import Kinds, Surroundings
from enforcer.loop.values import Next, Result

__all__ = [
    "Budgets",
    "Episodes",
    "Heats",
    "Kinds",
    "Limits",
    "Loop",
    "Memory",
    "Next",
    "Pace",
    "Reconciler",
    "Result",
    "Stages",
    "Surroundings",
]
