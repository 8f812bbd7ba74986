"""Lictor: the law, the record and the tools that the gate and the enforcer share."""
