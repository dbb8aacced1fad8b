"""The keys of the config: frozen dataclasses whose fields carry type, range, unit and description.

Needs nothing but Python, so that the workflow, the stages and a bare GPU machine all read them.
"""

from cseg.settings.build import build, plain
from cseg.settings.keys import Fact, facts, key
from cseg.settings.network import GivenWeights, ImageSettings, Init, ModelSettings, StartSettings
from cseg.settings.run import (
    TEACHER_SUFFIX,
    EvaluateSettings,
    RunSettings,
    Seed,
    SharedSettings,
    Stage,
    pretraining,
)
from cseg.settings.training import (
    ConsistencySettings,
    ContrastSettings,
    FinetuneSettings,
    LoopSettings,
    PretrainSettings,
    PseudolabelSettings,
    Trained,
)

__all__ = [
    "TEACHER_SUFFIX",
    "ConsistencySettings",
    "ContrastSettings",
    "EvaluateSettings",
    "Fact",
    "FinetuneSettings",
    "GivenWeights",
    "ImageSettings",
    "Init",
    "LoopSettings",
    "ModelSettings",
    "PretrainSettings",
    "PseudolabelSettings",
    "RunSettings",
    "Seed",
    "SharedSettings",
    "Stage",
    "StartSettings",
    "Trained",
    "build",
    "facts",
    "key",
    "plain",
    "pretraining",
]
