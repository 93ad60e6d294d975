"""The parser of the command line: one-line errors that suggest what a misspelt word may stand for."""

import argparse
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from jaxvae.texts import nearest

_ALIKE = 0.7  # the similarity from which on a name is suggested


class Parser(argparse.ArgumentParser):
    """A parser that raises ValueError where argparse would print the usage and exit; its subparsers do the same.

    Each error names the help of the command that it is about. Flags can't be abbreviated.

    Attributes:
        known: values to suggest for arguments that also allow others, by the argument's ``dest``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "allow_abbrev": False})
        self.known: dict[str, Sequence[str]] = {}

    def candidates(self, words: Sequence[str]) -> list[str]:
        """Returns the words that may complete the last one: commands, flags, or their values."""
        *before, begun = words
        commands = self._commands()
        if before and before[0] in commands:
            return commands[before[0]].candidates(words[1:])
        flags, last = self._option_string_actions, next((x for x in reversed(before) if x.startswith("--")), "")
        found: Iterable[str]
        if begun.startswith("-"):
            found = [flag for flag in flags if flag.startswith("--")]
        elif last in flags and (before[-1] == last or flags[last].nargs == "+") and flags[last].nargs != 0:
            found = self._values(flags[last])
        else:
            positional = [action for action in self._actions if not action.option_strings and not (before and commands)]
            found = (value for action in positional for value in self._values(action))
        return [word for word in found if word.startswith(begun)]

    def _values(self, action: argparse.Action) -> Iterable[str]:
        return self.known.get(action.dest) or map(str, action.choices or ())

    def _commands(self) -> Mapping[str, "Parser"]:
        found = [action.choices for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        return found[0] if found else {}

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see `{self.prog} --help`)")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses arguments, but raises ValueError for unknown flags before argparse reports missing arguments."""
        unknown = (
            [] if self._subparsers is not None else [x for x in _flags(args) if x not in self._option_string_actions]
        )
        if not unknown:
            found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._suggestion(unknown)}")
        return found, unknown

    def _suggestion(self, unknown: Sequence[str]) -> str:
        flags = [nearest(x, self._option_string_actions, cutoff=_ALIKE)[:2] for x in unknown]
        return did_you_mean(*itertools.chain(*flags))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Raises ArgumentError if a value isn't one of an action's choices."""
        if action.choices is not None and value not in action.choices:
            choices = [*map(str, action.choices)]
            told = did_you_mean(*nearest(value, choices, cutoff=_ALIKE)[:2]) or f", not one of {', '.join(choices)}"
            raise argparse.ArgumentError(action, f"invalid choice: {value!r}{told}")


def did_you_mean(*names: str) -> str:
    """Returns the end of a sentence about a misspelt word, or "" if there are no names.

    >>> did_you_mean("train"), did_you_mean()
    ('; did you mean train?', '')
    """
    return f"; did you mean {' or '.join(dict.fromkeys(names))}?" if names else ""


def _flags(args: Sequence[str]) -> list[str]:
    """Returns the long flags among arguments, without their values."""
    before = itertools.takewhile(lambda x: x != "--", args)
    return [x.partition("=")[0] for x in before if x.startswith("--") and " " not in x]
