"""The machine as values."""

from datetime import UTC

import pytest

from lictor.ports.clock import Clock
from lictor.system import SystemClock, environment, host_identity, host_name, random_hex


def test_system_clock_is_a_clock() -> None:
    """The wall time is aware, in UTC; the other never goes backwards."""
    clock: Clock = SystemClock()

    assert clock.now().tzinfo is UTC
    assert clock.monotonic() <= clock.monotonic()


def test_host_identity_differs_from_start_to_start() -> None:
    """Two starts on one host are two candidates for a Lease."""
    first, second = host_identity(), host_identity()

    assert first.startswith(f"{host_name()}_")
    assert first != second


def test_random_hex_has_the_size_that_was_asked() -> None:
    """Two digits a byte."""
    assert len(random_hex(32)) == 64


def test_environment_counts_empty_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable gives the default, as an unset one does."""
    monkeypatch.setenv("LICTOR_TEST_VARIABLE", "")

    assert environment("LICTOR_TEST_VARIABLE", "else") == "else"
