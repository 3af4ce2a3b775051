"""The real client against the stub with the real Session in it: every mask equals a local Session's, bit for bit.

Run: PYTHONDONTWRITEBYTECODE=1 nice /work/main/.venv/bin/python engine_check.py
"""

import sys

sys.path.append("/work/nni/venv/lib/python3.11/site-packages")  # blosc2 and the client, after main's own packages

import time
from dataclasses import dataclass

import numpy as np
import torch

from drive import KEY, Client, Server, os
from mapping import box_of, click_of, phantom, strokes_of, volume_of
from medsam_planner import Session
from medsam_planner.engine.registry import load_model
from prompts import Box, PromptLog
from stub import Work

MODEL = load_model("compact")
torch.set_num_threads(1)


def entries_of(volume, step):
    kind, _, include, said = step
    if kind == "point":
        return [click_of(volume, said, include)]
    if kind == "bbox":
        return [box_of(volume, said)]
    drawn, sides = said
    if kind == "scribble":
        return strokes_of(volume, drawn, sides, include)
    inside = np.argwhere(drawn != 0)
    low, high = inside.min(0), inside.max(0) + 1
    return [box_of(volume, [[int(a + l), int(a + h)] for (a, _), l, h in zip(sides, low, high)])]


@dataclass
class EngineWork(Work):
    session: Session | None = None

    def mask(self, steps=None):
        if self.session is None:
            self.session = Session(volume_of(self.image, self.properties["spacing"]), MODEL)
        history = [entry for step in (self.steps if steps is None else steps) for entry in entries_of(self.session.volume, step)]
        if not any(isinstance(one, Box) or one.positive for one in history):
            return np.zeros(self.image.shape[1:], bool)
        self.session.restore(PromptLog.from_history("object", history))
        return self.session.segment(structure="object", samples=0).mask.array


image, truth = phantom()
image = image.astype(np.float32)
with Server(work=EngineWork) as server:
    client = Client(server.url, api_key=KEY)
    client.set_image(image, {"spacing": [3.0, 1.0, 1.0]})
    buffer = np.zeros(image.shape[1:], np.uint8)
    client.set_target_buffer(buffer)
    local = Session(volume_of(image, [3.0, 1.0, 1.0]), MODEL)
    stroke = np.zeros((1, 20, 60), np.uint8)
    stroke[0, 8:11, 5:55] = 1
    loop = np.zeros((1, 61, 81), np.uint8)
    loop[0, 1:60, 1:80] = 1
    said = [
        ("negative click first", lambda: client.add_point_interaction([20, 10, 10], False), [click_of(local.volume, [20, 10, 10], False)]),
        ("2D box", lambda: client.add_bbox_interaction([[20, 21], [40, 101], [80, 161]], True), [box_of(local.volume, [[20, 21], [40, 101], [80, 161]])]),
        ("click", lambda: client.add_point_interaction(np.array([26.0, 70.0, 121.0]), True), [click_of(local.volume, [26, 70, 121], True)]),
        ("scribble", lambda: client.add_scribble_interaction(stroke, True, interaction_bbox=[[14, 15], [60, 80], [90, 150]]),
         strokes_of(local.volume, stroke, [[14, 15], [60, 80], [90, 150]], True)),
        ("lasso", lambda: client.add_lasso_interaction(loop, True, interaction_bbox=[[24, 25], [40, 101], [80, 161]]),
         [box_of(local.volume, [[24, 25], [41, 100], [81, 160]])]),
    ]
    masks = [buffer.copy() != 0]
    for name, call, prompts in said:
        began = time.perf_counter()
        box = call()
        took = time.perf_counter() - began
        for prompt in prompts:
            local.add(prompt, structure="object")
        try:
            expected = local.segment(structure="object", samples=0).mask.array
        except ValueError:
            expected = np.zeros(image.shape[1:], bool)
        assert np.array_equal(buffer != 0, expected), name
        masks.append(expected)
        print(f"{name}: equal, {int(expected.sum())} voxels, changed box {box}, {took:.2f} s", flush=True)
    for expected in reversed(masks[:-1]):
        began = time.perf_counter()
        assert client.undo()
        assert np.array_equal(buffer != 0, expected)
        print(f"undo: equal, {time.perf_counter() - began:.2f} s", flush=True)
    assert client.undo() is False
    client.close()
print("ALL EQUAL")
sys.stdout.flush()
os._exit(0)
