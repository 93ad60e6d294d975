"""What setup.cfg allows is what ``make test-all`` tests."""

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = ("anndata", "grain", "tables", "tensorboard", "test", "train")
UNUSED = ("mypy", "ruff")  # by the tests


def setup() -> configparser.ConfigParser:
    found = configparser.ConfigParser(interpolation=None)
    found.read(ROOT / "setup.cfg")
    return found


def versions(requirements: str, comparison: str) -> dict[str, str]:
    return dict(re.findall(rf"^([\w-]+){comparison}(\S+)$", requirements, re.MULTILINE))


def test_the_oldest_versions_allowed_are_tested():
    config = setup()
    wanted = versions(config["options"]["install_requires"], ">=")
    for extra in EXTRAS:
        wanted |= versions(config["options.extras_require"][extra], ">=")
    assert versions((ROOT / "tests/lowest.txt").read_text(), "==") == {
        name: version for name, version in wanted.items() if name not in UNUSED
    }


def test_every_python_claimed_is_tested():
    config = setup()
    claimed = re.findall(r"Python :: (3\.\d+)", config["metadata"]["classifiers"])
    tested = re.findall(r"(3\.\d+)-", config["tox:tox"]["env_list"])
    assert claimed == sorted({*tested})
    assert config["options"]["python_requires"] == f">={claimed[0]}"
