"""Development only: a real control plane, simulators, builders, and the tour."""
