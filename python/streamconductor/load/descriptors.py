"""Receives a plan · makes room for its sockets · owns what is said when the system allows too few."""

from __future__ import annotations

import sys

from .plan import Plan

__all__ = ["ensure_descriptors"]

# For everything that is no connection.
_OTHERS = 64


def ensure_descriptors(plan: Plan) -> None:
    """Raises the process's limit of open files as far as a plan needs and the system allows.

    Raises:
        ValueError: the system does not allow so many.
    """
    if sys.platform == "win32" or plan.connections is None:
        return
    import resource

    needed = plan.connections + _OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= needed or soft == resource.RLIM_INFINITY:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ValueError(
            f"{plan.connections} connections need {needed} open files, and the system allows {hard}; "
            "raise it with ulimit -n, or in limits.conf"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
