"""Receives SIGHUP · reads the settings anew and has the server take what changed · owns that a bad file changes
nothing.
"""

from __future__ import annotations

import logging
from typing import Any

from ..config import Config
from ..errors import StreamConductorError
from ..server import Server
from .settings import Settings, written

__all__ = ["reread"]

logger = logging.getLogger("streamconductor.cli")


def reread(server: Server, settings: Settings) -> None:
    """Reconfigures the server with what differs, and logs it; with a problem all stays as it is. Certificates are read
    anew either way.
    """
    _reread_certificates(server)
    try:
        config = settings.read()
        changed = [
            name for name in Config.model_fields if getattr(config, name) != getattr(server.config, name)
        ]
        fields: dict[str, Any] = {
            name: getattr(config, name) for name in changed if name in Config.reconfigurable
        }
        before = server.config
        if fields:
            server.reconfigure(**fields)
    except (StreamConductorError, ValueError) as error:
        logger.error("the configuration stays as it is: %s", "; ".join(str(error).splitlines()))
        return
    for name in fields:
        logger.info("%s: %s is now %s", name, written(before, name), written(config, name))
    for name in changed:
        if name not in fields:
            logger.warning("%s cannot change while the server runs; restart it", name)
    if not changed:
        logger.info("the configuration has not changed")


def _reread_certificates(server: Server) -> None:
    if server.config.tls_certificate is None:
        return
    try:
        server.reload_certificates()
    except StreamConductorError as error:
        logger.error("the certificates stay as they are: %s", error)
    else:
        logger.info("the certificates have been read anew")
