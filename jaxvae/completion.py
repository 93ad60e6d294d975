"""Scripts that make a shell complete the words of ``jaxvae``; they call ``jaxvae completion`` at each Tab."""

from collections.abc import Mapping
from types import MappingProxyType

_BASH = """_jaxvae() {
    local IFS=$'\\n'
    COMPREPLY=($(jaxvae completion bash -- "${COMP_WORDS[@]:1:$COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _jaxvae jaxvae"""

_ZSH = f"autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n{_BASH}"

_FISH = (
    """complete -c jaxvae -a '(jaxvae completion fish -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'"""
)

SCRIPTS: Mapping[str, str] = MappingProxyType({"bash": _BASH, "zsh": _ZSH, "fish": _FISH})
"""The script of each shell; if no word is known, the shell completes paths."""
