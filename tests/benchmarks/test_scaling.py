"""Devices that agree; what the compiled program says of its collectives; a projection done by hand."""

import copy
import json
import sys

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from benchmarks import projection, scaling
from benchmarks.projection import Cost, Machine
from jaxvae.training.devices import data_mesh

PARAMETERS = 784 * 500 + 500 + 2 * (500 * 20 + 20) + 20 * 500 + 500 + 500 * 784 + 784
HLO = """
  %all-reduce.1 = (f32[20,500]{1,0}, /*index=1*/f32[]) all-reduce(%a, %b), replica_groups={{0,1}}, to_apply=%add
  %get-tuple-element.7 = f32[20,500]{1,0} get-tuple-element(%all-reduce.1), index=0
  all-gather-start.3 = (bf16[4]{0}, bf16[8]{0}) all-gather-start(%c), metadata={op_name="x = all-reduce("}
  %all-gather-done.3 = bf16[8]{0:T(256)(2,1)} all-gather-done(all-gather-start.3)
  %collective-permute.2 = pred[3]{0} collective-permute(%d), source_target_pairs={{0,1},{1,0}}
  %other = s32[7]{0} fusion(%e), kind=kLoop, calls=%fused_all-reduce
  ROOT %all-reduce.9 = f8e4m3fn[5]{0} all-reduce(%f), to_apply=%add
"""


def test_collectives_are_counted_with_their_bytes():
    found = scaling.collectives(HLO)
    assert found == {"all-reduce": [2, 4 * 10_001 + 5], "all-gather": [1, 16], "collective-permute": [1, 3]}


def test_a_compiled_sum_over_devices_is_one_all_reduce():
    def total(x, y):
        return jax.lax.psum((x, y), "data")

    mesh, each = data_mesh(8), PartitionSpec("data")
    program = jax.jit(jax.shard_map(total, mesh=mesh, in_specs=each, out_specs=PartitionSpec()))
    x, y = np.zeros((8, 3), np.float32), np.zeros((16,), np.int16)
    found = scaling.collectives(program.lower(x, y).compile().as_text())
    assert list(found) == ["all-reduce"]
    assert found["all-reduce"][1] in (3 * 4 + 2 * 2, 3 * 4 + 2 * 4)  # XLA on CPUs may widen 16-bit integers


def test_nothing_is_exchanged_on_one_device():
    assert scaling.collectives(jax.jit(lambda x: x.sum()).lower(np.ones(3)).compile().as_text()) == {}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Of one and of two simulated devices."""
    out = tmp_path_factory.mktemp("scaling") / "scaling.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["scaling", "--quick", "--share", "0.5", "--out", str(out)])
        scaling.main()
    assert out.with_suffix(".png").stat().st_size > 10_000
    return json.loads(out.read_text())


@pytest.mark.slow
def test_two_devices_train_as_one_and_exchange_the_gradients(report):
    one, two = report["rows"][:2]
    assert (one["devices"], two["devices"]) == (1, 2)
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-6)
    assert len(set(one["losses"])) == scaling.STEPS == 20
    assert one["collectives"] == {}
    ((_, size),) = two["collectives"].values()
    assert 4 * PARAMETERS <= size <= 4 * (PARAMETERS + 10)  # and the means of a few metrics
    found = scaling.cost([one, two])
    layers = 784 * 500 + 2 * 500 * 20 + 20 * 500 + 500 * 784
    assert found.per_example == pytest.approx(2 * (3 * layers - 784 * 500), rel=0.02)  # and what isn't a matmul
    assert 0 < found.once < 30 * PARAMETERS  # Adam
    assert found.bytes == size


@pytest.mark.slow
def test_the_tables_tell(report):
    agreement, efficiencies, figures = scaling.tables(report)
    assert [row[0] for row in agreement.rows] == ["1 × 1", "1 × 2"]
    assert "not a measurement" in efficiencies.title
    assert len(efficiencies.rows) == 2 * len(figures.rows) == 6
    assert all(len(row) == len(efficiencies.heads) for row in efficiencies.rows)


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [1.00001, float("nan")])
@pytest.mark.parametrize(("name", "said"), [("losses", "losses on 2 devices"), ("norms", "norms on 2 devices")])
def test_a_wrong_number_is_reported(report, name, said, wrong):
    rows = copy.deepcopy(report["rows"][:2])
    rows[1][name][13] *= wrong if name == "losses" else 1 + 10 * (wrong - 1)
    with pytest.raises(SystemExit, match=said):
        scaling.check(rows)


def test_a_ring_by_hand():
    machine = Machine(1e12, 4, 1e9, 0.5e9, "")
    assert projection.ring_seconds(8e6, 1, machine) == 0
    assert projection.ring_seconds(8e6, 2, machine) == pytest.approx(8e-3)  # all bytes once: a half, there and back
    assert projection.ring_seconds(8e6, 4, machine) == pytest.approx(12e-3)
    assert projection.ring_seconds(8e6, 8, machine) == pytest.approx(28e-3)  # and half as fast, to the other node


def test_efficiencies_by_hand():
    # At half of 1e12 FLOP/s an example takes 2 us, the rest 64 us; 2 chips exchange in 32 us, 256 in 63.75 us.
    machine = Machine(1e12, 256, 1e9, 1e9, "")
    weak, strong = projection.project(Cost(32e6, 1e6, 32e3), machine, 0.5)
    chips = weak["chips"].index(2)
    assert weak["efficiency"][0] == strong["efficiency"][0] == 1
    assert weak["efficiency"][chips] == pytest.approx(320 / 352)  # 64 + 128 * 2 = 320
    assert weak["overlapped"][chips] == 1
    assert weak["exchange_longer_from"] is None
    assert strong["efficiency"][chips] == pytest.approx((64 + 2048) / 2 / (64 + 1024 + 32))
    assert strong["overlapped"][chips] == pytest.approx((64 + 2048) / 2 / (64 + 1024))
    assert strong["exchange_longer_from"] is None  # 64 + 8 on 256 chips
    assert weak["enough"] == strong["enough"] == 0


def test_where_exchange_takes_longer_by_hand():
    # An example takes 1 us, 256 chips exchange in 637.5 us, 2 in 320, 4 in 480.
    machine = Machine(1e12, 256, 1e9, 1e9, "")
    weak, strong = projection.project(Cost(0, 1e6, 320e3), machine, 1.0)
    assert weak["exchange_longer_from"] == 2
    assert weak["overlapped"][1] == pytest.approx(128 / 320)
    assert strong["exchange_longer_from"] == 4  # 512 us on 2, 256 on 4
    assert strong["efficiency"][2] == pytest.approx(256 / (256 + 480))
    assert weak["enough"] == strong["enough"] == pytest.approx(637.5)
