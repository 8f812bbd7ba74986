"""Simulators of the ports: the same contract suites hold for them and for the real ones."""
