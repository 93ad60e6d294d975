"""How many programs a piece of code compiles, whether or not they are found in the cache."""

import contextlib
from collections.abc import Iterator

import jax

_EVENT = "/jax/core/compile/backend_compile_duration"


@contextlib.contextmanager
def compiled() -> Iterator[list[str]]:
    """The names of the programs that are compiled inside, one by one."""
    names: list[str] = []

    def note(event: str, duration: float, **about: str) -> None:
        if event == _EVENT:
            names.append(about.get("fun_name", ""))

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield names
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
