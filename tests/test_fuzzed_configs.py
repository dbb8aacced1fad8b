"""500 configs drawn from the schema: right ones give a plan, wrong ones a sentence with the key."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
import yaml
from config_strategies import SCHEMA, WHOLE, entries, kinds, spoiled_configs, valid_configs
from hypothesis import HealthCheck, Phase, given, settings
from small_runs import ROOT
from workflow_runs import snakemake

from cseg import experiment
from cseg.errors import ConfigError

VALID = SPOILED = 250
# derandomized: the same configs each time, so that what the page says can be repeated
QUICK = settings(max_examples=50, deadline=None, derandomize=True,
                 suppress_health_check=list(HealthCheck))  # fmt: skip
# without shrinking, which would dry-run hundreds of configs more
WHOLE_RUN = settings(QUICK, phases=[Phase.generate])


@QUICK
@given(valid_configs())
def test_valid_configs_are_accepted_and_resolved_for_every_arm(config):
    parsed = experiment.parse(config)
    for arm in parsed.run_arms:
        assert parsed.run_settings(arm, 0).finetune.steps >= 1


@QUICK
@given(spoiled_configs())
def test_a_spoiled_config_is_refused_by_the_name_of_the_key(drawn):
    config, key, _ = drawn
    with pytest.raises(ConfigError) as caught:
        experiment.parse(config)
    assert key in str(caught.value)


def required_keys() -> list[tuple[str, ...]]:
    return [
        (*path, key)
        for path, schema in entries(WHOLE, SCHEMA)
        for kind in kinds(schema)
        for key in kind.get("required", [])
        if isinstance(reduce(getitem, path, WHOLE), dict)
    ]


@pytest.mark.parametrize("path", required_keys(), ids=".".join)
def test_a_required_key_that_is_missing_is_named(path):
    config = yaml.safe_load(yaml.safe_dump(WHOLE))
    place = config
    for name in path[:-1]:
        place = place[name]
    del place[path[-1]]
    with pytest.raises(ConfigError, match=f"config key {'.'.join(path)} is missing"):
        experiment.parse(config)


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> Iterator[Callable[[dict], list[str] | None]]:
    """Dry-runs a config in a process that stays, and says what error there was."""
    folder = tmp_path_factory.mktemp("fuzzed")
    command = [sys.executable, str(ROOT / "tests" / "dry_runs.py")]
    with (folder / "stderr").open("w") as stderr:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=stderr, text=True)  # fmt: skip

        def ask(config: dict) -> list[str] | None:
            path = write(folder, config)
            print(path, file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()
        process.wait(600)
    assert "Traceback" not in (folder / "stderr").read_text()


def write(folder: Path, config: dict) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


@pytest.mark.long
@pytest.mark.fault
def test_every_valid_config_gives_a_plan(plan, tried):
    done = []

    @settings(WHOLE_RUN, max_examples=VALID)
    @given(valid_configs())
    def drawn(config):
        assert plan(config) is None
        done.append(config)

    drawn()
    assert len(done) == VALID
    tried("Fuzzed configs", "valid configs, dry-run through Snakemake's API", len(done),
          "every one gave a plan")  # fmt: skip


@pytest.mark.long
@pytest.mark.fault
def test_every_spoiled_config_stops_the_workflow_by_the_name_of_its_key(plan, tried):
    done: Counter = Counter()

    @settings(WHOLE_RUN, max_examples=SPOILED)
    @given(spoiled_configs())
    def drawn(spoiled):
        config, key, how = spoiled
        kind, said = plan(config)
        assert kind == "WorkflowError" and key in said
        done[how] += 1

    drawn()
    assert sum(done.values()) == SPOILED and len(done) == 3
    words = {"type": "wrong type", "range": "out of range", "unknown": "unknown key"}
    for how, times in done.items():
        tried("Fuzzed configs", f"{words[how]}, through Snakemake's API", times,
              "refused in a sentence with the key's name, no traceback")  # fmt: skip


@pytest.mark.long
@pytest.mark.fault
def test_the_command_line_says_the_same(tmp_path, tried):
    done: Counter = Counter()

    @settings(WHOLE_RUN, max_examples=13)
    @given(valid_configs(), spoiled_configs())
    def drawn(valid, spoiled):
        path = write(tmp_path, valid)
        asked = snakemake(tmp_path, "-n", "--quiet", "all", "--configfile", str(path))
        assert asked.returncode == 0 and "Traceback" not in asked.stderr, asked.stderr
        config, key, _ = spoiled
        asked = snakemake(tmp_path, "-n", "--configfile", str(write(tmp_path, config)))
        said = asked.stdout + asked.stderr  # a dry run has its errors on stdout
        assert asked.returncode != 0 and key in said and "Traceback" not in said
        done.update(["valid", "spoiled"])

    drawn()
    assert done == {"valid": 13, "spoiled": 13}
    tried("Fuzzed configs", "valid configs, by the command snakemake -n", 13, "each gave a plan")
    tried("Fuzzed configs", "spoiled configs, by the command snakemake -n", 13,
          "refused in a sentence with the key's name, no traceback")  # fmt: skip
