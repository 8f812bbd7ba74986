"""Which connection makes room for another when there are as many as we hold.

Whoever reaches the port may open connections and say nothing. To refuse the next one would refuse
the API server, and what fails open then admits: so one that does nothing is closed instead.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from aiohttp.web_protocol import RequestHandler


class Connections:
    """Remembers which connections are at work, and in which order the others last were."""

    def __init__(self) -> None:
        """Begin with none."""
        self._working: set[RequestHandler] = set()
        self._rested: dict[RequestHandler, None] = {}

    @contextmanager
    def work(self, connection: RequestHandler) -> Iterator[None]:
        """Keep `connection` while a request of it is answered."""
        self._working.add(connection)
        try:
            yield
        finally:
            self._working.discard(connection)
            self._rested.pop(connection, None)
            self._rested[connection] = None

    def forget_closed(self, held: Sequence[RequestHandler]) -> None:
        """Forget every connection that is not among those that are `held`."""
        still = set(held)
        self._rested = {one: None for one in self._rested if one in still}

    def spare(self, held: Sequence[RequestHandler]) -> RequestHandler | None:
        """Return which of `held` is missed least; None where all are at work.

        One that never sent a request comes first, the oldest of them; then the one whose last
        request is longest ago. To close that is safe: a client sends a request again that met the
        end of an idle connection before it was written.
        """
        self.forget_closed(held)
        for one in held:
            if one not in self._working and one not in self._rested:
                return one
        return next((one for one in self._rested if one not in self._working), None)
