"""Widen the decoder of trained weights so that the wider network gives the same answers: WEIGHTS OUT W0 W1 W2 W3."""
import sys; sys.path.insert(0, 'code')
import json
from dataclasses import replace
from pathlib import Path
import torch
from medsam_planner.engine.compact_weights import read_weights, save_weights
from medsam_planner.engine.memory_network import MemoryNetwork

torch.manual_seed(0)
old, meta = read_weights(Path(sys.argv[1]))
widths = tuple(map(int, sys.argv[3:7]))
new = MemoryNetwork(replace(old.architecture, decoder_widths=widths))
w0 = old.architecture.decoder_widths
known, state = old.state_dict(), new.state_dict()
for name, value in state.items():
    was = known[name]
    if was.shape == value.shape:
        value.copy_(was)
        continue
    rows = was.shape[0]
    if name.endswith("quality_head.0.weight"):  # coarsest, middle, finest, rest
        value[:, :] = 0
        at_old = at_new = 0
        for a, b in ((w0[3], widths[3]), (w0[1], widths[1]), (w0[0], widths[0])):
            value[:, at_new:at_new + a] = was[:, at_old:at_old + a]
            at_old += a; at_new += b
        value[:, at_new:] = was[:, at_old:]
    elif name.endswith("memory_reader.value.0.weight"):
        value[:, :] = 0
        value[:, :w0[2]] = was[:, :w0[2]]
        value[:, widths[2]:] = was[:, w0[2]:]
    elif value.ndim >= 2:
        columns = was.shape[1]
        value[:rows, columns:] = 0
        value[:rows, :columns] = was
    else:
        value[:rows] = was
new.load_state_dict(state)
old.eval(); new.eval()
with torch.no_grad():
    x, p = torch.randn(2, 3, 96, 96), torch.rand(2, 10, 96, 96)
    a, b = old(x, p), new(x, p)
    print("largest difference", max(float((i - j).abs().max()) for i, j in zip(a, b)), sum(v.numel() for v in new.parameters()))
save_weights(new, Path(sys.argv[2]), trained_on=json.loads(meta['trained_on']), notes={'steps': meta['steps']})
