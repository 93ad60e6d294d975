"""What a begun line of words may go on with; that misspelt words are answered with the nearest is in test_cli."""

import pytest

from jaxvae.cli import make_parser


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("tra", ["train", "traverse"]),
        ("data ", ["list", "inspect", "prepare"]),
        ("explain log_std softplus_v", ["softplus_variance"]),
        ("train --learning", ["--learning-rate", "--learning-rate-decay"]),
        ("train --objective s", ["sampled_elbo", "stl"]),
        ("train --dataset mni", ["mnist"]),
        ("train --latents ", []),
        ("train --objective stl ", []),
        ("train --resume ", []),
        ("compare --parameterization log_std log_v", ["log_variance"]),
        ("export runs/x --format ", ["safetensors", "stablehlo"]),
        ("encode --data ", []),
        ("nonsense --data ", []),
    ],
)
def test_candidates(line: str, found: list[str]) -> None:
    words = line.split(" ")
    assert make_parser(words[0]).candidates(words) == found
