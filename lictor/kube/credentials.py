"""Who we are at the API server: configuration and bearer token, from a kubeconfig or a Pod."""

import time
from collections.abc import Mapping
from typing import Final

import yaml
from kubernetes_asyncio import config as kube_config
from kubernetes_asyncio.client import Configuration

from lictor.config.settings import ClusterSettings
from lictor.errors import SettingsError
from lictor.telemetry.logs import logger

RELOAD_SECONDS: Final = 60.0
"""A projected token is renewed at 80 % of its life of an hour: a minute is early enough."""

_RETRY_SECONDS: Final = 1.0
"""Between two reads that refused requests ask for."""

_SCHEME: Final = "Bearer"
_LOG = logger(__name__)


class Credentials:
    """The configuration of the client, and a token that is read again while the process runs.

    A client certificate is read once, at the start.
    """

    def __init__(self, settings: ClusterSettings, configuration: Configuration) -> None:
        """Take what `load_credentials` has read."""
        self._settings = settings
        self._read_at = time.monotonic()
        self.configuration = configuration

    async def headers(self) -> Mapping[str, str]:
        """Return the headers that say who we are; none where a certificate does."""
        if time.monotonic() - self._read_at > RELOAD_SECONDS:
            await self._reload()
        token = _token(self.configuration)
        return {"Authorization": f"{_SCHEME} {token}"} if token else {}

    async def renewed(self, refused: Mapping[str, str]) -> bool:
        """Return whether there are other headers than those that were refused."""
        if await self.headers() == refused and self._age() > _RETRY_SECONDS:
            await self._reload()
        return await self.headers() != refused

    def _age(self) -> float:
        return time.monotonic() - self._read_at

    async def _reload(self) -> None:
        """Take the token that stands there now; what cannot be read leaves the earlier one."""
        self._read_at = time.monotonic()
        try:
            fresh = await _read(self._settings)
        except SettingsError as err:
            _LOG.warning("credentials.unreadable", error=str(err))
            return
        # A file that is being written is empty for a moment.
        if _token(fresh):
            self.configuration.api_key = fresh.api_key


def _token(configuration: Configuration) -> str:
    held: str = configuration.api_key.get("BearerToken", "")
    return held.removeprefix(_SCHEME).strip()


async def load_credentials(settings: ClusterSettings) -> Credentials:
    """Read the kubeconfig of the settings, or the Pod's ServiceAccount where they name none.

    Raises:
        SettingsError: it is not there, or cannot be used.
    """
    return Credentials(settings, await _read(settings))


async def _read(settings: ClusterSettings) -> Configuration:
    configuration = Configuration()
    try:
        if settings.kubeconfig:
            await kube_config.load_kube_config(
                config_file=settings.kubeconfig,
                client_configuration=configuration,
                persist_config=False,
            )
        else:
            kube_config.load_incluster_config(configuration, try_refresh_token=False)  # type: ignore[no-untyped-call]  # its own
    except yaml.YAMLError as err:
        # Its message would quote the file, and with it the credentials.
        raise SettingsError(f"cluster.kubeconfig: {settings.kubeconfig}: not YAML") from err
    except (kube_config.ConfigException, OSError, ValueError, TypeError, KeyError) as err:
        where = settings.kubeconfig or "the Pod's ServiceAccount"
        raise SettingsError(f"cluster.kubeconfig: {where}: {err}") from err
    return configuration
