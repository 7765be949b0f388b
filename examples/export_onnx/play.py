"""Plays recorded episodes through a team exported to ONNX, with onnxruntime and NumPy only.

mast export runs/first --to onnx --out runs/first-onnx
python examples/export_onnx/play.py runs/first-onnx
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def main(folder: Path) -> int:
    """Compares every action and action value; 1 if one differs."""
    session = onnxruntime.InferenceSession(
        folder / "agent.onnx", providers=["CPUExecutionProvider"]
    )
    # The contract also lies in the model's metadata, for whoever has only the model.
    metadata = json.loads(session.get_modelmeta().custom_metadata_map["mast"])
    agents = [agent["name"] for agent in metadata["agents"]]
    print(f"{metadata['environment']['identity']}: {', '.join(agents)}")
    vectors = json.loads((folder / "contract.json").read_text())["vectors"]
    rows = np.fromfile(folder / vectors["file"], "<f4").reshape(-1, len(agents), vectors["width"])
    ends = np.cumsum([column["width"] for column in vectors["columns"]])[:-1]
    names = [column["name"] for column in vectors["columns"]]
    largest, differ = 0.0, 0
    for team in rows:  # one step of the whole team; a single agent is a single row
        step = dict(zip(names, np.split(team, ends, axis=1), strict=True))
        if step["step"][0, 0] == 0:
            last_action = np.full(len(agents), -1)
            hidden = np.zeros((len(agents), step["hidden"].shape[1]), np.float32)
        available = step["available"] > 0
        q, action, hidden = session.run(
            ["q", "action", "next_hidden"],
            {
                "observation": step["observation"],
                "last_action": last_action,
                "agent": np.arange(len(agents)),
                "hidden": hidden,
                "available": available,
            },
        )
        last_action = step["action"][:, 0].astype(np.int64)
        largest = max(largest, float(np.abs(q - step["q"]).max()))
        chosen, recorded = (
            np.take_along_axis(step["q"], index[:, None], axis=1) for index in (action, last_action)
        )
        differ += int((recorded - chosen > 2e-4).sum())
    print(f"{rows.shape[0]} steps: {differ} actions differ, action values by {largest:.2g} at most")
    return int(differ > 0 or not largest < 1e-4)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
