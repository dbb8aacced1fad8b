"""The config: merged by key, checked by key, resolved by arm; said once, in its classes."""

import copy
import json
import math
from dataclasses import MISSING, fields
from functools import cache

import jsonschema
import pytest
from config_page import facts, json_schema, page
from config_strategies import WHOLE, spoiled_configs, valid_configs
from hypothesis import HealthCheck, given, settings
from small_runs import ROOT, SMOKE, used_with

from cseg import experiment
from cseg.errors import ConfigError
from cseg.experiment import Experiment
from cseg.experiment.checks import cautions
from cseg.settings.keys import build, default_of, plain
from cseg.settings.run import RunSettings, pretraining

OVERLAYS = sorted((ROOT / "workflow" / "configs").glob("**/*.yaml"))
DEFAULT = experiment.load([])


def changed(path: str, value):
    config = copy.deepcopy(WHOLE)
    *parents, last = path.split(".")
    place = config
    for name in parents:
        place = place[name]
    place[last] = value
    return config


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem)
def test_every_overlay_we_ship_is_valid_with_those_its_command_names(overlay):
    overlays = used_with(overlay)
    assert overlay in overlays
    loaded = experiment.load(overlays)
    for arm in loaded.run_arms:
        assert loaded.run_settings(arm, 0).finetune.steps >= 1


def test_overlays_replace_single_keys(tmp_path):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("finetune: {lr: 0.5}\nseeds: [7]\n")
    loaded = experiment.load([overlay])
    assert plain(loaded.finetune) == {**plain(DEFAULT.finetune), "lr": 0.5}
    assert loaded.seeds == (7,) and loaded.arms == DEFAULT.arms


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("learning_rate", 1, "learning_rate is unknown"),
        ("finetune.learning_rate", 1, r"finetune\.learning_rate is unknown"),
        ("finetune.lr", "fast", r"finetune\.lr is 'fast'; give a number above 0"),
        ("finetune.batch", 1, r"finetune\.batch is 1; give a whole number from 2"),
        ("pretrain.grid", [8], r"pretrain\.grid is \[8\]; give a list of 2 entries"),
        ("pretrain.grid", [8, "x"], r"pretrain\.grid\.1 is 'x'; give a whole number"),
        ("dataset", "imagenet22k", "dataset is 'imagenet22k'.*choose one of"),
        ("dataset_options", {"shapes": {"sise": 48}}, "sise"),
        ("dataset_options", {"shapes": {"train": 0}}, r"train is 0; give a whole number from 1"),
        ("results_dir", "runs/{arm}", "results_dir is .*without braces"),
        ("data_dir", "a\0b", "data_dir is .*without braces"),
        ("label_lists", {"mine": "{n}.txt"}, r"label_lists\.mine is .*without braces"),
        ("model.encoder", "resnet50.tv_in1k", r"encoder is 'resnet50.*without a tag"),
        ("model.maps", {"resnet50": [1]}, r"resnet50 is \[1\]; give the numbers of two"),
        ("model.maps", {"resnet50": [-1, 4]}, r"resnet50\.0 is -1; give a whole number from 0"),
        ("arms.cross.init", "noise", "init is 'noise'; give random, imagenet, or a"),
        ("arms.cross.init", {"sha256": "0" * 64}, r"cross\.init\.weights is missing"),
        ("arms.cross.init", {"weights": "a.pt", "sha256": "1"}, r"sha256 is '1'; give 64 hex"),
        ("arms.cross.init", {"weight": "a.pt"}, r"init\.weight is unknown; use one of we"),
        ("run_arms", ["scratch", "croos"], "run_arms names 'croos'"),
        ("run_arms", [], r"run_arms is \[\]; give a list of different arm names"),
        ("run_arms", ["scratch", "scratch"], "run_arms is .*different arm names"),
        ("reference_arm", "batch", "reference_arm names 'batch', which run_arms lacks"),
        ("label_counts", [16, 513], "513 is more than the 512"),
        ("label_counts", [16, 16], "names a count twice"),
        ("label_counts", [16, "1/32"], "has 16 and 1/32, which mean as many images; keep one"),
        ("label_counts", [512, "all"], "has 512 and all, which mean as many images"),
        ("label_counts", ["1/2", 0.5], r"has 1/2 and 0\.5, which mean as many images"),
        ("label_counts", ["1/2", "2/4"], "has 1/2 and 2/4, which mean as many images"),
        ("label_counts", ["many"], "label_counts"),
        ("label_lists", {"all": "list.txt"}, "label_lists has the key 'all'; give a list's name"),
        ("label_lists", {"u2pl": 92}, r"label_lists\.u2pl is 92; give a path"),
        ("audit_lists", "list.txt", "audit_lists is .*list of paths"),
        ("prepared_cache", "yes", "prepared_cache is 'yes'; give true or false"),
        ("prepared_cache", 1, "prepared_cache is 1; give true or false"),
        ("seeds", [0, 0], "seeds is .*different whole numbers"),
        ("seeds", 3, "seeds is 3; give a list"),
        ("seeds", [True], r"seeds\.0 is True; give a whole number"),
        ("seeds", [-1], r"seeds\.0 is -1; give a whole number from 0"),
        ("budget", "fair", "budget is 'fair'; choose one of"),
        ("arms.cross.scope", "sideways", r"arms\.cross\.scope is 'sideways'"),
        ("arms.cross.overrides", {"pretrain": {"tau": 1}}, r"overrides\.pretrain\.tau is unk"),
        ("arms.cross.overrides", {"model": {"maps": 4}}, r"overrides\.model\.maps is unknown"),
        ("arms.cross.overrides", {"model": {"head": "tall"}}, "head is 'tall'; choose one"),
        ("arms.cross.overrides", {"budget": "fair"}, "budget is 'fair'; choose one of"),
        ("ablations", {"head": {"a": "cross", "b": "croos"}}, r"head\.b names 'croos'.*run_arms"),
        ("ablations", {"head": {"a": "cross"}}, r"ablations\.head is .*at least two"),
        ("ablations", {"tau": {0.1: "cross", "b": "within"}}, r"tau has the key 0\.1.*quotes"),
        ("arms.Cross", {"init": "random", "scope": "none"}, "Cross"),
        ("arms", {1: {"init": "random", "scope": "none"}}, "arms has the key 1; give an arm's"),
        ("label_lists", {1: "list.txt"}, "label_lists has the key 1; give a list's name"),
        ("label_lists", {"mine\n": "list.txt"}, r"has the key 'mine.n'; give a list's"),
        ("finetune.lr", math.nan, r"finetune\.lr is nan"),
        ("pretrain.temperature", math.inf, r"pretrain\.temperature is inf"),
        ("seeds", [0.0], r"seeds\.0 is 0\.0; give a whole number"),
        ("finetune.steps", 6.0, r"finetune\.steps is 6\.0; give a whole number"),
        ("device", "tpu", "device is 'tpu'"),
    ],
)  # fmt: skip
def test_a_wrong_key_is_named_in_one_sentence(path, value, said):
    with pytest.raises(ConfigError, match=said) as caught:
        experiment.parse(changed(path, value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["dataset", "seeds", "label_counts", "arms.cross.scope"])
def test_a_missing_key_without_a_default_is_named(path):
    config = copy.deepcopy(WHOLE)
    *parents, last = path.split(".")
    place = config
    for name in parents:
        place = place[name]
    del place[last]
    with pytest.raises(ConfigError, match=f"config key {path} is missing; add it"):
        experiment.parse(config)


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [", "cannot be read"), ("- a\n- b\n", "holds no keys"), (None, "cannot be read")],
)
def test_unreadable_files_are_named(tmp_path, text, said):
    path = tmp_path / "broken.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=f"broken.yaml {said}"):
        experiment.load([path])


def test_equal_steps_gives_every_arm_the_same_total():
    runs = [DEFAULT.run_settings(arm, 0) for arm in DEFAULT.arms]
    assert len({sum(getattr(run, stage).steps for stage in run.trainings) for run in runs}) == 1


def test_equal_finetune_gives_every_arm_the_same_second_stage():
    loaded = experiment.load([], {"budget": "equal_finetune"})
    steps = {loaded.run_settings(arm, 0).finetune.steps for arm in loaded.arms}
    assert steps == {DEFAULT.finetune.steps}


def test_equal_time_counts_a_contrastive_step_at_its_cost():
    loaded = experiment.load([], {"budget": "equal_time", "contrast_step_cost": 2.5})
    alone, run = loaded.run_settings("scratch", 0), loaded.run_settings("cross", 0)
    assert alone.finetune.steps == run.finetune.steps + 2.5 * run.pretrain.steps


def test_an_arms_overrides_reach_only_that_arm():
    usual = plain(DEFAULT.run_settings("scratch", 0).finetune)
    distorted = plain(DEFAULT.run_settings("scratch_distorted", 0).finetune)
    assert usual["distortion"] == 0.0 and distorted["distortion"] > 0
    assert {**distorted, "distortion": 0.0} == usual


def test_an_arm_may_have_its_own_head_and_budget():
    overrides = {"model": {"head": "released"}, "budget": "equal_finetune"}
    loaded = experiment.load([], {"arms": {"scratch": {"overrides": overrides}}})
    run = loaded.run_settings("scratch", 0)
    assert plain(run.model) == {**plain(DEFAULT.model), "head": "released"}
    assert run.budget == "equal_finetune" and run.finetune.steps == DEFAULT.finetune.steps
    assert loaded.run_settings("cross", 0).model == DEFAULT.model


def test_ablations_vary_what_their_group_says_and_nothing_else():
    loaded = experiment.load([ROOT / "workflow" / "configs" / "ablations.yaml"])
    varied = {"colour distortion": "distortion", "temperature": "temperature",
              "grid of the loss": "grid", "pretraining steps": "steps"}  # fmt: skip
    for group, key in varied.items():
        arms = [arm for arm in loaded.ablations[group].values() if arm.startswith("cross")]
        blocks = [plain(loaded.run_settings(arm, 0)) for arm in arms]
        values = [str(block["pretrain"].pop(key)) for block in blocks]
        assert len(set(values)) == len(arms) > 1
        assert all(block == blocks[0] for block in blocks)
    assert set(loaded.run_arms) == {
        arm for named in loaded.ablations.values() for arm in named.values()
    }


def test_the_arm_compared_with_is_scratch_or_the_first_unless_named():
    def reference(**changes):
        return experiment.load([], changes).reference

    assert reference() == "scratch"
    assert reference(run_arms=["cross", "scratch"]) == "scratch"
    assert reference(run_arms=["imagenet", "cross"]) == "imagenet"
    assert reference(run_arms=["imagenet", "cross"], reference_arm="cross") == "cross"


# What Snakemake makes of --config: text inside lists and mappings, typed values outside
TEXT = {
    "seeds": ["0", "7"],
    "label_counts": ["16", "1/4", "0.5", "all"],
    "image": {"flip": "false", "scale": ["0.5", "2"], "short_side": "null"},
    "finetune": {"lr": "1e-3", "steps": "40"},
    "model": {"maps": {"resnet50": ["1", "4"], "resnet18": "null"}, "output_stride": "16"},
    "dataset_options": {"shapes": {"size": "32", "train": "40"}},
    "arms": {"cross": {"overrides": {"pretrain": {"temperature": ".1"}}}},
    "evaluate": {"window": ["32", "32"]},
}
TYPED = {
    "seeds": [0, 7],
    "label_counts": [16, "1/4", 0.5, "all"],
    "image": {"flip": False, "scale": [0.5, 2.0], "short_side": None},
    "finetune": {"lr": 0.001, "steps": 40},
    "model": {"maps": {"resnet50": [1, 4], "resnet18": None}, "output_stride": 16},
    "dataset_options": {"shapes": {"size": 32, "train": 40}},
    "arms": {"cross": {"overrides": {"pretrain": {"temperature": 0.1}}}},
    "evaluate": {"window": [32, 32]},
}


def test_text_is_read_as_the_declared_type():
    text, typed = experiment.load([], TEXT), experiment.load([], TYPED)
    for arm in typed.run_arms:
        assert text.run_settings(arm, 7) == typed.run_settings(arm, 7)
    assert (text.seeds, text.counts) == (typed.seeds, typed.counts)
    assert text.info == typed.info and typed.info.split_sizes["train"] == 40


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": ["0", "x"]}, r"seeds\.1 is 'x'"),
        ({"finetune": {"steps": "4.5"}}, r"finetune\.steps is '4\.5'; give a whole number"),
        ({"image": {"flip": "no"}}, r"image\.flip is 'no'; give true or false"),
        ({"finetune": {"lr": "nan"}}, r"finetune\.lr is 'nan'"),
        ({"finetune": {"lr": "1e999"}}, r"finetune\.lr is '1e999'"),
        ({"dataset_options": {"shapes": {"size": "big"}}}, "size is .big.; give a whole number"),
    ],
)  # fmt: skip
def test_text_that_is_no_value_of_the_type_is_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        experiment.load([], changes)


def test_settings_survive_json_and_are_checked_again():
    for arm in DEFAULT.arms:
        run = DEFAULT.run_settings(arm, 3)
        stored = json.loads(json.dumps(plain(run)))
        assert build(RunSettings, stored) == run and stored == plain(run)
    with pytest.raises(ConfigError, match=r"config key old\.pt: settings\.tau is unknown"):
        build(RunSettings, {**stored, "tau": 1}, "old.pt: settings")


SHARING = {"overrides": {"finetune": {"distortion": 1.0}}, "pretrained_by": "cross"}


def sharing(**changes):
    arm = {"init": "random", "scope": "cross", **SHARING, **changes}
    return experiment.load([SMOKE], {"run_arms": ["shared", "scratch"], "arms": {"shared": arm}})


def test_an_arm_may_start_from_another_arms_pretraining():
    loaded = sharing()
    assert loaded.helpers == ("cross",)
    stages = {run.arm: run.stages for run in loaded.runs(loaded.run_arms + loaded.helpers)}
    assert stages == {
        "shared": ("finetune", "evaluate"),
        "scratch": ("finetune", "evaluate"),
        "cross": ("pretrain",),
    }
    assert pretraining(loaded.run_settings("shared", 1)) == pretraining(
        loaded.run_settings("cross", 1)
    )
    assert loaded.run_settings("shared", 1) != loaded.run_settings("cross", 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"overrides": {"pretrain": {"lr": 0.3}}}, r"but pretrain\.lr differs between the two"),
        ({"overrides": {"model": {"head": "released"}}}, r"but model\.head differs"),
        ({"scope": "within"}, "but scope differs"),
        ({"init": "imagenet"}, "but init differs"),
        ({"pretrained_by": "scratch"}, "name an arm that pretrains itself"),
        ({"pretrained_by": "shared"}, "name an arm that pretrains itself"),
        ({"pretrained_by": "nobody"}, "name an arm that pretrains itself"),
        ({"pretrained_by": "cross_pseudo"}, "name an arm that pretrains itself"),
    ],
)  # fmt: skip
def test_a_pretraining_that_would_differ_is_not_shared(changes, said):
    with pytest.raises(ConfigError, match=rf"arms\.shared\.pretrained_by is .*{said}"):
        sharing(**changes)


FOLDER = """
name: {name}
classes: [{{name: soil}}, {{name: crop}}]
val_share: 0.5
"""


def described(tmp_path, file, name):
    path = tmp_path / file
    path.write_text(FOLDER.format(name=name))
    options = {"folder": {"description": str(path)}}
    changes = {"dataset": "folder", "dataset_options": options, "label_counts": ["all"]}
    return experiment.load([], changes | {"results_dir": str(tmp_path / "results")})


def test_results_are_known_by_the_name_in_the_description(tmp_path):
    loaded = described(tmp_path, "a.yaml", "fields")
    assert (loaded.dataset, loaded.name) == ("folder", "fields")
    assert loaded.results == f"{tmp_path}/results/fields"
    for name in ("../up", "'{arm}'", ".hidden", "''"):
        with pytest.raises(ConfigError, match=r"the dataset's name is .*names a folder"):
            described(tmp_path, "a.yaml", name)


def test_fractions_of_one_value_are_one_count_whatever_the_number_of_images(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(FOLDER.format(name="fields"))
    options = {"folder": {"description": str(path)}}
    changes = {"dataset": "folder", "dataset_options": options}
    for counts in (["1/2", 0.5], [0.25, "2/8"]):
        with pytest.raises(ConfigError, match=r"label_counts has .* which mean as many images"):
            experiment.load([], changes | {"label_counts": counts})
    loaded = experiment.load([], changes | {"label_counts": [16, "1/32", 0.25, 0.5, "1/3"]})
    assert list(loaded.counts) == ["16", "1of32", "0.25", "0.5", "1of3"]


def test_two_descriptions_never_share_a_folder_of_results(tmp_path):
    loaded = described(tmp_path, "a.yaml", "fields")
    fetched = tmp_path / "results" / "fields" / "fetch.json"
    fetched.parent.mkdir(parents=True)
    fetched.write_text(json.dumps({"options": dict(loaded.options)}))
    described(tmp_path, "a.yaml", "fields")
    described(tmp_path, "b.yaml", "meadows")
    with pytest.raises(ConfigError, match=r"holds results of the description .*a\.yaml"):
        described(tmp_path, "b.yaml", "fields")


def test_the_default_config_is_that_of_the_classes():
    """config.yaml gives every key, in the words of a user; a class gives its default."""
    assert set(WHOLE) == {entry.name for entry in fields(Experiment)}
    for fact in facts(Experiment):
        path = fact.name.split(".")
        if fact.default is MISSING or path[0] in ("arms", "dataset_options"):
            continue
        value = WHOLE
        for name in path:
            value = value[name]
        assert value == plain(fact.default), fact.name


def test_every_key_is_described():
    listed = list(facts(Experiment))
    assert len({fact.name for fact in listed}) == len(listed) > 70
    assert all(len(fact.description) > 9 and fact.wanted != "a value" for fact in listed)
    for entry in fields(Experiment):
        assert entry.metadata.get("description") or default_of(entry).__doc__


def test_the_pages_of_keys_are_current():
    docs = ROOT / "docs"
    assert (docs / "config.md").read_text() == page(), "run `make keys`"
    assert json.loads((docs / "config.schema.json").read_text()) == json_schema(), "`make keys`"


@cache
def editors_check() -> jsonschema.Draft202012Validator:
    """What an editor does with the schema, which is itself checked once."""
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(valid_configs())
def test_json_schema_accepts_what_we_accept(config):
    editors_check().validate(json.loads(json.dumps(config)))


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(spoiled_configs())
def test_json_schema_refuses_what_we_refuse(drawn):
    config, _, how = drawn
    text = json.dumps(config)
    if how != "unknown" and ("NaN" in text or "Infinity" in text or "2.0" in text):
        return  # JSON Schema takes 2.0 for a whole number and knows no finite numbers
    with pytest.raises(jsonschema.ValidationError):
        editors_check().validate(json.loads(text))


def test_options_of_the_dataset_mean_as_text_what_they_mean_as_values():
    """Snakemake passes the values in a mapping of --config as text."""
    text = {"size": "32", "train": "64", "relax_counts": "False", "exclude": ["a"]}
    values = {"size": 32, "train": 64, "relax_counts": False, "exclude": ["a"]}
    both = {"shapes": text, "folder": {"relax_counts": "true"}}
    loaded = experiment.load([], {"dataset_options": both})
    assert loaded.options == {**experiment.load([]).options, **values}
    assert loaded.dataset_options["folder"] == {"relax_counts": "true"}  # not the chosen one's
    described = {"classes": [{"name": "a"}, {"name": "b"}], "val_share": 0.3}
    for word, expected in (("true", True), ("True", True), ("false", False), ("False", False)):
        options = {"folder": {"description": described, "relax_counts": word}}
        own = experiment.load([], {"dataset": "folder", "dataset_options": options})
        assert own.options == {"description": described, "relax_counts": expected}


def test_a_learning_rate_that_only_rises_is_told():
    assert cautions(experiment.load([])) == []
    short = {"pretrain": {"warmup_steps": 20, "steps": 20}, "finetune": {"steps": 8}}
    some = {"run_arms": ["scratch", "cross"], "budget": "equal_steps"}
    told = cautions(experiment.load([], short | some))  # scratch: 28 steps, above 20
    assert told == [
        f"config key {stage}.warmup_steps is 20 but arm cross has {steps} steps there, so that its "
        "learning rate only rises; lower it, or raise the steps"
        for stage, steps in (("pretrain", 20), ("finetune", 8))
    ]
