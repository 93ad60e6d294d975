from pathlib import Path

from benchmarks import many
from jaxvae import cli, study


def test_its_commands_are_one_study(tmp_path):
    found = dict(many.commands(tmp_path, Path("mnist.npz")))
    assert [*found] == ["digits-mlp", "digits-conv", "mnist-mlp", "mnist-conv", "reuters-mlp"]
    cells = set()
    for words in found.values():
        args = cli.make_parser("compare").parse_args(words)
        cells |= {*study.configurations(study.extended(study.DEFAULT, args.fields))}
        assert args.out == tmp_path
    assert len(cells) == 5 * 6 * 4 * 3
    assert {c.architecture for c in cells if c.dataset == "reuters"} == {"mlp"}
