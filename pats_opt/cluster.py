"""Joining a Ray cluster, or starting one on this machine (the extra ``ray``)."""

from __future__ import annotations

import importlib.util
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pats_opt.errors import InputError, one_line

LOOPBACK = "127.0.0.1"


def require() -> None:
    """Refuse to go on without Ray.

    Raises:
        InputError: It is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise InputError(
            "--engine ray needs ray", hint="install the extra: pip install 'pats-opt[ray]'"
        )


def start_ray(**options: Any) -> None:
    """Join the cluster that RAY_ADDRESS names, else start one that listens on loopback only.

    Args:
        **options: Further arguments of ``ray.init``.

    Raises:
        InputError: The cluster does not answer, or Ray would listen on other interfaces too.
    """
    import ray

    address = os.environ.get("RAY_ADDRESS", "local")
    options |= {"include_dashboard": False, "configure_logging": False, "log_to_driver": False}
    terminated = signal.getsignal(signal.SIGTERM)
    try:
        if address == "local":
            _start_on_loopback(**options)
        else:
            ray.init(**options)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise InputError(
            f"the Ray cluster {address!r} cannot be joined ({one_line(str(error))})",
            hint="start it, or correct RAY_ADDRESS",
        ) from None
    finally:  # Ray's handler would end the process at once
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, terminated)


@contextmanager
def joined(**options: Any) -> Iterator[None]:
    """Be in a cluster, see :func:`start_ray`; one that this process was in before is left alone.

    Raises:
        InputError: Ray is not installed, or see :func:`start_ray`.
    """
    require()
    import ray

    if ray.is_initialized():
        yield
        return
    start_ray(**options)
    try:
        yield
    finally:
        ray.shutdown()


def _start_on_loopback(**options: Any) -> None:
    import ray
    from ray._private import ray_constants

    # Ray's servers keep to loopback if that is their node's address. Where clusters are possible,
    # which is all but macOS and Windows, it replaces such an address by one of the network.
    possible, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        ray.init(address="local", _node_ip_address=LOOPBACK, **options)
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = possible
    if (address := ray.util.get_node_ip_address()) != LOOPBACK:
        ray.shutdown()
        raise InputError(
            f"this release of Ray listens on {address}",
            hint="use --engine process, or start a cluster and name it in RAY_ADDRESS",
        )
