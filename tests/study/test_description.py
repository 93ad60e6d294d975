import dataclasses
import math

import numpy as np

from jaxvae.study.cells import Scores, Segment, Steps
from jaxvae.study.description import group_records
from jaxvae.study.sweep import Trained
from jaxvae.training import TrainConfig


def test_records_hold_what_was_found():
    config = TrainConfig(latents=2)
    group = [config, dataclasses.replace(config, seed=1)]
    head = np.array([[1.0, 5.0, 2.0, 3.0], [1.0, 2.0, np.inf, 3.0]])
    cause = np.array([[0, 0, 0, 0], [0, 2, 0, 4]])
    mean, std = np.array([[[9.0, 9.0], [-0.5, 0.0]]] * 2), np.array([[[1.0, 1.0], [0.25, 0.0]]] * 2)
    segments = Segment(Steps(head, head / 2, cause), np.array([[-30.0, -20.0], [-30.0, np.nan]]), mean, std)
    test = np.array([[True, True, True, False], [False] * 4])
    validation = np.array([[False] * 4, [True, True, False, False]])
    evidence = np.array([[[-10.0, -12.0, -14.0, 99.0], [-20.0, -21.0, 99.0, 99.0]]] * 2)
    evidence[1, 0, 1] = np.nan
    scores = Scores(
        np.array([-15.0, np.nan]),
        np.array([3.0, 1.0]),
        evidence,
        np.full((2, 2, 4), 0.3),
        np.array([-19.0, np.nan]),
        np.array([2, 0]),
        np.array([[1, 2, 3]] * 2),
        np.array([[0.0, 0.25, 1.0]] * 2),
    )
    first, second = group_records(group, Trained(segments, scores, 5.0), {"test": test, "validation": validation})
    assert [r["config"]["seed"] for r in (first, second)] == [0, 1]
    assert (first["elbo"], first["log_likelihood"], first["kl"]) == (-18, -15, 3)
    assert first["nll"] == 12
    assert (first["validation_nll"], first["validation_elbo"]) == (20.5, -19)
    assert math.isclose(first["nll_standard_error"], 2 / math.sqrt(3), rel_tol=1e-6)
    assert math.isclose(first["nll_monte_carlo_error"], 0.3 / math.sqrt(3), rel_tol=1e-6)
    assert first["steps"] == 4
    assert first["curve"] == {"step": [2, 4], "elbo": [-30, -20]}
    assert (first["skipped"], first["first_skipped"], first["cause"]) == (0, None, None)
    assert first["gradient_norm"] == {"head": [3, 5, 5], "network": [1.5, 2.5, 2.5]}
    assert first["gradient_snr"][0] == 2
    assert math.isnan(first["gradient_snr"][1])
    assert first["std_histogram"] == [1, 2, 3]
    assert first["saturation"] == {"floor": 0, "ceiling": 0.25, "dead": 1}
    assert first["active_units"] == 2
    assert first["seconds"] == 2.5
    assert first["versions"]["jax"]
    assert (second["skipped"], second["first_skipped"], second["cause"]) == (0.5, 1, "gaussian")
    assert math.isnan(second["nll"])
    assert second["gradient_norm"]["head"][0] == 3
    assert second["gradient_norm"]["head"][2] == math.inf
    (alone, _) = group_records(group, Trained(segments, scores, 5.0), {"test": test})
    assert alone.keys() == {name for name in first if not name.startswith("validation")}
