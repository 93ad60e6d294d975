import pytest

from jaxvae.study.grid import DEFAULT, QUICK, command, configurations, extended, groups
from jaxvae.study.results import variant
from jaxvae.training import TrainConfig


def variants(cells):
    return list(dict.fromkeys(variant({"config": vars(cell)}) for cell in cells))


def test_the_default_study():
    cells = configurations(DEFAULT)
    assert len(cells) == 12 * 5 * 3
    assert variants(cells)[-3:] == ["direct_std", "direct_std + projection", "direct_std + lagrange"]
    assert [len(group) for group in groups(cells)] == 12 * [15]
    assert {cell.init_std for cell in cells} == {0.5}
    assert len(configurations(QUICK)) == 5 * 2 * 2


def test_fields_multiply():
    grid = {"parameterization": ("log_std",), "dtype": ("float32", "bfloat16"), "seed": (3, 4), "latents": (2, 5, 7)}
    cells = configurations(grid)
    assert [(c.dtype, c.seed, c.latents) for c in cells[:4]] == [
        ("float32", 3, 2),
        ("float32", 3, 5),
        ("float32", 3, 7),
        ("float32", 4, 2),
    ]
    assert len(cells) == 12
    assert sorted(len(group) for group in groups(cells)) == 6 * [2]  # a program for each dtype and number of latents
    assert all(len({(c.dtype, c.latents) for c in group}) == 1 for group in groups(cells))


def test_a_constraint_goes_only_with_what_needs_one():
    grid = {"parameterization": ("log_variance", "direct_std"), "constraint": ("lagrange", "projection")}
    assert variants(configurations(grid)) == ["log_variance", "direct_std + lagrange", "direct_std + projection"]
    assert len(configurations(grid)) == 3
    assert variants(configurations({"constraint": ("projection",)})) == ["log_variance"]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (
            {"learning_rat": (1e-3,)},
            "config must be a field of TrainConfig; nearest: learning_rate, .*, got 'learning_rat'",
        ),
        ({"seed": ()}, "seed must be one or more values, got"),
        ({"seed": (1, 1)}, r"seed must be each value once, got \[1, 1\]"),
        ({"learning_rate": (1e-3, -1.0)}, "learning_rate must be above 0, got -1.0"),
        ({"learning_rate": (1e-3, float("inf"))}, "learning_rate must be a finite number, .* got inf"),
        ({"parameterization": ("log_variance", "sigmoid_std")}, "std must be in .* for sigmoid_std, got 1.0"),
        ({"streaming": (True,)}, "streaming must be false"),
        ({"likelihood": ("gaussian_optimal",)}, "likelihood must be one whose σ isn't fitted after training"),
        ({"dtype": ("float32", "float8")}, "dtype must be one of float32, bfloat16, float16, got 'float8'"),
    ],
)
def test_a_bad_grid_is_refused_before_anything_is_trained(grid, message):
    with pytest.raises(ValueError, match=message):
        configurations(grid)


def test_other_values_replace_the_grids_own():
    grid = extended(QUICK, {"seed": [5], "hidden": (64, 32), "precondition": ["fisher"]})
    assert grid["seed"] == (5,)
    assert grid["hidden"] == ((64, 32),)
    assert grid["learning_rate"] == QUICK["learning_rate"]
    assert grid["precondition"] == ("none", "fisher")  # the plain run beside it
    assert extended(QUICK, {"precondition": ["fisher", "none"]})["precondition"] == ("none", "fisher")
    assert configurations(grid)[0].hidden == (64, 32)


def test_the_command_names_what_differs_from_the_default():
    assert command(DEFAULT) == "jaxvae compare"
    assert command(DEFAULT, search=True) == "jaxvae compare --search"
    fields = {"dataset": ["my images.npy"], "hidden": (64, 32), "learning_rate": [0.5]}
    assert command(extended(DEFAULT, fields)) == (
        "jaxvae compare --hidden 64 32 --learning-rate 0.5 --dataset 'my images.npy'"
    )


def test_groups_keep_the_order_of_cells():
    cells = [TrainConfig(seed=s, beta=b) for s in (1, 0) for b in (1.0, 2.0)]
    assert groups(cells) == [[cells[0], cells[2]], [cells[1], cells[3]]]
