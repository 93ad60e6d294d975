"""Data parallelism: one mesh over all devices of all hosts, parameters on each, batches in shares."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxvae.arguments import require

DATA_AXIS = "data"


def data_mesh(batch_size: int) -> Mesh:
    """All devices, along one axis.

    Raises:
        ValueError: for a batch that can't be shared equally.
    """
    count = jax.device_count()
    require(batch_size % count == 0, "batch_size", batch_size, f"a multiple of the {count} devices")
    return jax.make_mesh((count,), (DATA_AXIS,), axis_types=(AxisType.Auto,))


def one_device() -> Mesh:
    """The first device by itself, as a mesh like ``data_mesh``'s."""
    return jax.make_mesh((1,), (DATA_AXIS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])


def replicated(mesh: Mesh) -> NamedSharding:
    """A copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def shared_out(mesh: Mesh) -> NamedSharding:
    """The leading axis in equal shares."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def memory() -> int:
    """Bytes that a device has: an accelerator's own, or, of a CPU, the machine's, as far as this process may use it."""
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    return int(limit or min(_host_memory()))


def _host_memory() -> Iterator[int]:
    """The machine's memory, and the limits that are set to it."""
    yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # "max" where there is none
            yield int(Path(path).read_text())
    with contextlib.suppress(ImportError):
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            yield soft


def copies(mesh: Mesh) -> int:
    """Of what is replicated on a mesh, how many share one memory: CPU devices are of one machine."""
    return len(mesh.local_devices) if mesh.local_devices[0].platform == "cpu" else 1


def cores() -> int:
    """CPU cores that this process may run on."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return found or 1


def put(sharding: NamedSharding, tree: Any) -> Any:
    """Host arrays to devices, each process giving all of a replicated array, or its own share of a shared one."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree)
