"""Pictures of models, and rows of tables in their place."""

import re
from pathlib import Path

import mixed
import numpy as np
import pytest
from command_line import TINY, refusal
from matplotlib.image import imread

import jaxvae as jv
from jaxvae import plots
from jaxvae.cli import main
from jaxvae.files import entries


@pytest.mark.slow
def test_the_drawing_commands_draw_anew(run, capsys):
    for command, flags in (
        ("sample", ["--count", "4", "--seed", "3"]),
        ("reconstruct", ["--count", "2"]),
        ("traverse", ["--latents", "2", "--steps", "3", "--reach", "1"]),
    ):
        assert main([command, str(run), *flags]) == 0
        (path,) = capsys.readouterr().out.split()
        assert imread(path).std() > 0.01


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["sample", "--count", "1000000000000"], "--count must be 1 to 10,000, got 1000000000000"),
        (["sample", "--count", "-1"], "--count must be 1 to 10,000, got -1"),
        (["reconstruct", "--count", "-1"], "--count must be 1 to 10,000, got -1"),
        (["traverse", "--steps", "100000000"], "--steps must be 1 to 1,000, got 100000000"),
        (["traverse", "--reach", "nan"], "--reach must be a number above 0, got nan"),
    ],
)
def test_pictures_of_any_number_of_images_are_refused(capsys, argv, words):
    assert words in refusal(capsys, argv[0], "no-run", *argv[1:])


@pytest.mark.slow
def test_a_table_is_trained_on_and_drawn_from_in_its_own_terms(tmp_path, capsys):
    pytest.importorskip("pandas")
    columns = mixed.columns()
    Path("people.csv").write_text(mixed.as_csv(columns))
    Path("kinds.toml").write_text('stage = "count"\n')
    said = ("--label", "group", "--stratified", "--kinds", "kinds.toml")
    assert main(["train", "--dataset", "people.csv", *said, "--conditional", "--out", "run", *TINY]) == 0
    Path("kinds.toml").unlink()  # what it said is kept
    told = capsys.readouterr().out
    assert (
        "p(x|z): columns, gaussian_learned of depth; log_normal of height; negative_binomial of visits, stage; " in told
    )
    assert re.search(r"test NLL .* nats per row", told)
    assert entries(Path("run")) >= {"samples.csv", "reconstructions.csv", "traversals.csv", "curves.png", "std.png"}

    assert main(["sample", "run", "--count", "4", "--out", "drawn.csv"]) == 0
    head, *rows = [line.split(",") for line in Path("drawn.csv").read_text().splitlines()]
    assert head == ["group", "depth", "height", "visits", "sex", "ward", "stage"]
    assert [row[0] for row in rows] == ["high", "low", "high", "low"]
    assert {row[4] for row in rows} <= {"f", "m"}
    assert {row[5] for row in rows} <= {"er", "gp", "icu"}
    assert all(row[3].isdecimal() and row[6].isdecimal() and float(row[2]) > 0 for row in rows)

    # New rows, with their columns in another order, are seen as those of training are.
    new = {name: columns[name][:5] for name in reversed(columns)}
    Path("new.csv").write_text(mixed.as_csv(new))
    assert main(["reconstruct", "run", "--data", "new.csv", "--out", "found.npy"]) == 0
    model = jv.load("run")
    rows = np.stack([np.asarray(columns[name][:5], float) for name in ("depth", "height", "visits")], axis=1)
    codes = [[("f", "m").index(x) for x in new["sex"]], [("er", "gp", "icu").index(x) for x in new["ward"]]]
    given = np.concatenate([rows, np.transpose(codes), new["stage"][:, None]], axis=1)
    again = model.reconstruct(given, new["group"]).reshape(5, 6)
    np.testing.assert_allclose(np.load("found.npy"), again, rtol=1e-6)

    assert main(["evaluate", "run", "--samples", "2"]) == 0
    assert main(["encode", "run", "--data", "new.csv", "--out", "z.npz"]) == 0
    assert main(["decode", "run", "--latents", "z.npz", "--out", "decoded.csv"]) == 0
    assert len(Path("decoded.csv").read_text().splitlines()) == 6
    new["height"][2] = -1
    Path("bad.csv").write_text(mixed.as_csv(new))
    capsys.readouterr()
    assert "bad.csv, row 3, column 'height' must be positive, got -1.0" in refusal(
        capsys, "score", "run", "--data", "bad.csv", "--out", "s.csv"
    )
    with pytest.raises(ValueError, match=r"got -1 in column 'height', which must be above 0"):
        model.encode(np.where(np.arange(6) == 1, -1, given), new["group"])
    assert "ends in .csv or .npy, got 'x.png'" in refusal(capsys, "sample", "run", "--out", "x.png")


@pytest.mark.slow
def test_sequences_train_and_are_drawn_with_a_row_for_each_channel(capsys, monkeypatch):
    rng, drawn = np.random.default_rng(0), []
    np.savez("x.npz", x=rng.normal(size=(30, 7, 2)), lengths=rng.integers(3, 8, 30))
    draw = plots.reconstructions
    monkeypatch.setattr(plots, "reconstructions", lambda *x: drawn.append(x) or draw(*x))
    flags = ["--architecture", "recurrent", "--hidden", "4", "--latents", "2", "--epochs", "1", "--samples", "2"]
    assert main(["train", "--dataset", "x.npz", *flags, "--out", "run"]) == 0
    out = capsys.readouterr().out
    assert "sequences of 7x2, continuous" in out
    assert "nats per sequence of" in out
    originals, means, _ = drawn[0]
    assert originals.shape == means.shape == (3, 2, 7, 1)
    ended = np.isnan(originals[..., 0])
    assert (ended[:, 0] == ended[:, 1]).all()
    assert (ended[..., 1:] >= ended[..., :-1]).all()
    np.save("z.npy", np.zeros((1, 2), np.float32))
    assert "must be a path that ends in .npy, got 'new'" in refusal(
        capsys, "decode", "run", "--latents", "z.npy", "--out", "new"
    )
