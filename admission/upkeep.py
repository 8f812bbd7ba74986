"""Keeps certificate and registration right while the gate runs."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

from admission._x509 import Bundle, CertificateError
from admission.certs import CertificateKeeper, load_into
from admission.registration import Registrar
from lictor.errors import ApiError, ForbiddenError
from lictor.telemetry.logs import logger

INTERVAL_SECONDS: Final = 30.0
"""How long somebody's edit of our registration may last."""

_RETRY_SECONDS: Final = 2.0
_FIRST_SECONDS: Final = 0.25

_LOG = logger(__name__)


class Upkeep:
    """One pass reads the Secret, keeps both configurations right, and serves the certificate."""

    def __init__(
        self,
        keeper: CertificateKeeper,
        registrar: Registrar | None,
        *,
        context: ssl.SSLContext,
        leads: Callable[[], bool],
        wake: asyncio.Event,
    ) -> None:
        """Take what keeps each part.

        Args:
            keeper: of the Secret.
            registrar: None where webhooks are registered by other means.
            context: of the server.
            leads: says whether this process is the one that writes.
            wake: set when that has changed, so that the next pass begins at once.
        """
        self._keeper = keeper
        self._registrar = registrar
        self._context = context
        self._leads = leads
        self._served = ""
        self._wake = wake

    async def first(self) -> None:
        """Wait until there is a certificate, and serve it.

        Raises:
            ForbiddenError: we may not read or write the Secret.
        """
        waiting = False
        while True:
            try:
                bundle = await self._keeper.refresh(leader=self._leads())
                if bundle is not None:
                    self._serve(bundle)
                    return
            except ForbiddenError:
                raise
            except (ApiError, CertificateError) as err:
                _LOG.warning("certificate.unavailable", error=str(err))
                await asyncio.sleep(_RETRY_SECONDS)
            if not waiting:
                waiting = True
                _LOG.info("certificate.awaited", reason="the leader has made none yet")
            await self._pause(_FIRST_SECONDS)

    async def run(self) -> None:
        """Make a pass now, then every 30 seconds and whenever woken, for ever."""
        while True:
            pause = INTERVAL_SECONDS
            try:
                await self.renew()
            except (ApiError, CertificateError) as err:
                _LOG.warning("upkeep.failed", error=str(err))
                pause = _RETRY_SECONDS
            await self._pause(pause)

    async def renew(self) -> None:
        """Make one pass.

        The API server is told of a new CA before the first certificate of it is served.

        Raises:
            ApiError: the API server refused or could not answer.
            CertificateError: what the Secret holds cannot be used; the old one stays in use.
        """
        leader = self._leads()
        bundle = await self._keeper.refresh(leader=leader)
        if bundle is None:
            return
        if leader and self._registrar is not None:
            await self._registrar.reconcile(bundle.authorities)
        self._serve(bundle)

    def _serve(self, bundle: Bundle) -> None:
        if bundle.version == self._served:
            return
        load_into(self._context, bundle)
        self._served = bundle.version
        _LOG.info("certificate.served", version=bundle.version)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()
