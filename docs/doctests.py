"""For the reference: doctests in docstrings become code blocks, which Markdown would take for quotations."""

import re
from typing import Any

import griffe

_DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)


def fenced(docstring: str) -> str:
    """The docstring with a fence about each doctest, from its first prompt to the next empty line."""
    return _DOCTEST.sub(lambda found: f"```pycon\n{found[0]}\n```", docstring)


class Doctests(griffe.Extension):
    """Fences the doctests of every object that is loaded."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each object once it is there."""
        if obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)
