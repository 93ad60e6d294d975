"""Data parallelism: one mesh over all devices of all hosts; each device has the parameters and a share of a batch."""

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
    """Makes a mesh of all devices, along one axis.

    Raises:
        ValueError: for a batch that the devices can't share equally.
    """
    count = jax.device_count()
    require(batch_size % count == 0, "batch_size", batch_size, f"a multiple of the {count} devices")
    return jax.make_mesh((count,), (DATA_AXIS,), axis_types=(AxisType.Auto,))


def one_device() -> Mesh:
    """Makes a mesh like ``data_mesh``'s of the first device only."""
    return jax.make_mesh((1,), (DATA_AXIS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding that puts a copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def shared_out(mesh: Mesh) -> NamedSharding:
    """Returns the sharding that splits the leading axis into equal shares."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def memory() -> int:
    """Returns the bytes of a device's memory; for a CPU, the part of the machine's memory that this process may use."""
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    return int(limit or min(_host_memory()))


def _host_memory() -> Iterator[int]:
    """Yields the machine's memory, and the limits on it."""
    yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # "max" if there is no limit
            yield int(Path(path).read_text())
    with contextlib.suppress(ImportError):
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            yield soft


def copies(mesh: Mesh) -> int:
    """Returns how many copies of a replicated array share one memory, as all CPU devices of a machine do."""
    return len(mesh.local_devices) if mesh.local_devices[0].platform == "cpu" else 1


def cores() -> int:
    """Returns the number of CPU cores that this process may run on."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return found or 1


def put(sharding: NamedSharding, tree: Any) -> Any:
    """Puts host arrays on devices; each process passes all of a replicated array, or its share of a shared one."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree)
