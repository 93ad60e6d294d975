"""Programs of any number of images, run where there is JAX alone."""

import json
import subprocess
import sys

import jax
import numpy as np
import one_device
import pytest
import trained_models
from representatives import each

from jaxvae.trained import export_programs
from jaxvae.trained.programs import exported_programs

pytest.importorskip("flatbuffers")
IMAGES = np.random.default_rng(0).integers(0, 17, (5, *trained_models.SHAPE), np.uint8)
SCRIPT = """
import json, sys
import jax, numpy as np

def read(name):
    return jax.export.deserialize(bytearray(open(f"{sys.argv[1]}/{name}.stablehlo", "rb").read()))

images = np.load(sys.argv[1] + "/x.npy")
labels = [np.array([0, 2, 1, 1, 0], np.int32)] if read("encode").in_avals[1:] else []
found = []
for count in (5, 2):
    some = [x[:count] for x in (images, *labels)]
    mean, log_std, latents = read("encode").call(*some)
    found.append([mean, log_std, latents, read("decode").call(latents, *some[1:]), *read("score").call(*some)])
assert not [name for name in sys.modules if name.split(".")[0] in ("jaxvae", "flax")]
print(json.dumps([[np.asarray(x).tolist() for x in part] for part in found]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", each(("flat", "conditional", "top_down", "flow"), kept=("conditional",)))
def test_they_need_jax_alone(kind, tmp_path):
    model = trained_models.model(kind)
    export_programs(model, tmp_path / "out")
    np.save(tmp_path / "out" / "x.npy", IMAGES)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "out")]
    # In a directory without the package, which is installed to be edited: -c puts the working directory first.
    done = subprocess.run(command, capture_output=True, text=True, env=one_device.environment(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    labels = [np.array([0, 2, 1, 1, 0])] if model.contract.conditional else []
    q, z = model.infer(IMAGES, *labels)
    scores = model.terms(IMAGES, *labels)
    wanted = [q.mean, q.log_std, z, model.decode(z, *labels).mean, *scores]
    for part, count in zip(json.loads(done.stdout), (5, 2), strict=True):
        for found, expected in zip(part, wanted, strict=True):
            np.testing.assert_allclose(found, expected[:count], rtol=1e-4, atol=1e-5)


def test_they_are_for_every_platform_and_any_number():
    made = exported_programs(trained_models.model("optimal"))
    for program in made.values():
        assert set(program.platforms) == {"cpu", "cuda", "rocm", "tpu"}
        assert str(program.in_avals[0].shape[0]) == "N"
    elbo, log_likelihood, kl = made["score"].call(IMAGES)
    np.testing.assert_allclose(elbo, trained_models.model("optimal").elbo(IMAGES), rtol=1e-4)
    assert jax.tree.leaves(kl)[0].shape == log_likelihood.shape == (5,)
