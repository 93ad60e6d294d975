"""The environment of a test's own process: of one device, as a user's has."""

import os

EIGHT = "--xla_force_host_platform_device_count=8"


def environment(**more: str) -> dict[str, str]:
    """This process', with more, but without the eight simulated devices and their 64 threads."""
    return {
        **{name: value for name, value in os.environ.items() if name != "NPROC"},
        "XLA_FLAGS": os.environ["XLA_FLAGS"].replace(EIGHT, "").strip(),
        "JAX_PLATFORMS": "cpu",
        **more,
    }
