"""The files of a run's directory."""

import json

import numpy as np
import pytest

from jaxvae.training import directory


def record(epoch: int, **more: float) -> dict:
    return {"epoch": epoch, "step": 10 * epoch, "elbo": -1.0 / epoch, **more}


def test_lines_are_appended_and_read_back(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with directory.MetricsLog(path, 0) as log:
        log.append(record(1))
        assert directory.read_metrics(path) == [record(1)]  # at once, not when closed
        log.append(record(2))
    assert directory.read_metrics(path) == [record(1), record(2)]


def test_epochs_after_the_checkpoint_are_dropped_on_resuming(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with directory.MetricsLog(path, 0) as log:
        for epoch in (1, 2, 3):
            log.append(record(epoch))
    with path.open("a") as file:
        file.write('{"epoch": 4, "el')  # cut off by a kill
    assert [r["epoch"] for r in directory.read_metrics(path)] == [1, 2, 3]
    with directory.MetricsLog(path, 2) as log:
        assert [r["epoch"] for r in directory.read_metrics(path)] == [1, 2]
        log.append(record(3, again=1.0))
    assert directory.read_metrics(path)[-1] == record(3, again=1.0)
    assert len(path.read_text().splitlines()) == 3


def test_lost_epochs_are_said_to_be(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps(record(1)) + "\n" + json.dumps(record(4)) + "\n")
    with directory.MetricsLog(path, 4):
        assert f"{path} lacks 2 of the first 4 epochs" in caplog.text


@pytest.mark.parametrize("line", ["", "{", "[]", '{"step": 3}', '{"epoch": "many"}', "\ud800", "[" * 100_000])
def test_what_is_no_record_is_refused(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(json.dumps(record(1)).encode() + b"\n" + line.encode(errors="surrogatepass") + b"\n")
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 2, must be an epoch's record, got"):
        directory.read_metrics(path)


def test_what_is_not_finite_is_null(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with directory.MetricsLog(path, 0) as log:
        log.append({"epoch": 1, "a": float("nan"), "b": float("inf"), "c": 1.5})
    (line,) = path.read_text().splitlines()
    strict = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} isn't JSON"))
    assert strict == {"epoch": 1, "a": None, "b": None, "c": 1.5}


def test_no_file_no_records(tmp_path):
    assert directory.read_metrics(tmp_path / "none.jsonl") == []


def test_versions_name_what_numbers_depend_on():
    versions = directory.versions()
    assert {"jaxvae", "jax", "flax", "optax", "python", "device"} <= set(versions)
    assert all(isinstance(value, str) for value in versions.values())


def test_tensorboard_gets_every_value(tmp_path):
    events = pytest.importorskip("tensorboardX.proto.event_pb2")
    reader = pytest.importorskip("tensorboardX.record_writer")
    del reader
    with directory.MetricsLog(tmp_path / "metrics.jsonl", 0, tmp_path / "tensorboard") as log:
        log.append(record(1))
        log.append(record(2))
    (file,) = (tmp_path / "tensorboard").iterdir()
    found, data = [], file.read_bytes()
    while data:  # TFRecord: length, its checksum, the event, its checksum
        (length,) = np.frombuffer(data[:8], "<u8")
        event = events.Event.FromString(data[12 : 12 + int(length)])
        found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
        data = data[16 + int(length) :]
    assert (20, "elbo", np.float32(-0.5)) in found
    assert len([tag for _, tag, _ in found if tag == "elbo"]) == 2


def test_reports_are_strict_json(tmp_path):
    found = directory.RunDirectory(tmp_path)
    found.write_report("x", {"a": float("nan"), "b": [1.0, float("inf")], "c": {"d": None}})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": [1.0, None], "c": {"d": None}}
