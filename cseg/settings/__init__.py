"""The keys of the config: frozen dataclasses whose fields carry type, range, unit and description.

Needs nothing but Python, so that the workflow, the stages and a bare GPU machine all read them.
"""

from cseg.settings.keys import build, key, plain
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
    "key",
    "plain",
    "pretraining",
]
