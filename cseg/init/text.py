"""The config that is written, with a comment on each choice, and what is said of the folder."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

KEYS = {  # comments of the keys that are written, in this order
    "run_arms": "ways to start; config.yaml defines them",
    "label_counts": "labelled images to learn from: numbers, fractions such as 1/8, or all",
    "seeds": "each repeats all runs with other subsets and weights; three or more for a paper",
    "image.short_side": "pixels; images are shrunk to this shorter side, null keeps their size",
    "image.crop": "height and width of a training crop, pixels",
    "image.scale": "lowest and highest random scale factor",
    "model": "the network; without these keys it is a small one, for CPUs",
    "evaluate.window": "sliding window over large images, pixels",
    "pretrain.grid": "a quarter of the crop: what the contrastive loss compares",
    "pretrain.steps": "",
    "finetune.steps": "arms without pretraining get the steps of both stages",
}


def config_text(
    *,
    head: Sequence[str],
    data_dir: str,
    description: Mapping[str, Any],
    notes: Mapping[str, str],
    settings: Mapping[str, Any],
) -> str:
    """The YAML of a config for the dataset `folder`.

    It begins with `head` as lines of comment. `notes` are comments by key of the description, of a
    class by its name; `settings` are further keys of the config.
    """
    lines = [f"# {line if line.isprintable() else _line(line)}".rstrip() for line in head]
    lines += ["dataset: folder", f"data_dir: {flow(data_dir)}", "dataset_options:", "  folder:"]
    lines.append("    description: # of your files; all keys: docs/datasets.md")
    for key, value in description.items():
        if key == "classes":
            lines.append(f"      classes: # {notes['classes']}")
            for entry in value:
                lines.append(f"        - {flow(entry)}{_note(notes.get('class ' + entry['name']))}")
        else:
            lines.append(f"      {key}: {flow(value)}{_note(notes.get(key))}")
    for key, value in settings.items():
        if isinstance(value, Mapping):
            lines.append(f"{key}:{_note(KEYS.get(key))}")
            lines += [f"  {k}: {flow(v)}{_note(KEYS.get(f'{key}.{k}'))}" for k, v in value.items()]
        else:
            lines.append(f"{key}: {flow(value)}{_note(KEYS.get(key))}")
    return "\n".join(lines) + "\n"


def flow(value: Any) -> str:
    """A value on one line of YAML."""
    listed = yaml.safe_dump(
        [value], default_flow_style=True, width=10**9, allow_unicode=True, sort_keys=False
    )
    return listed.strip()[1:-1]


def _note(comment: str | None) -> str:
    return f" # {_line(comment)}" if comment else ""


def _line(text: str) -> str:
    return " ".join(text.split())
