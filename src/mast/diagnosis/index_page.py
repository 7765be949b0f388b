"""The page of `mast inspect`: all pictures of a run in one place, and what each input is read by. No JAX."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from mast.files import write_atomically

FILE_NAME = "index.html"
STYLE = """
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: #1c1c1c; background: #fff;
  margin: 2rem auto; max-width: 1500px; padding: 0 1.2rem; }
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; border-bottom: 1px solid #ddd; }
.quiet { color: #666; } nav { margin: 1rem 0; display: flex; flex-wrap: wrap; gap: 0 1rem; }
img { max-width: 100%; height: auto; display: block; margin: .4rem 0 1rem; }
.inputs { columns: 24rem; column-gap: 2rem; font-size: 12px; line-height: 1.35;
  font-variant-numeric: tabular-nums; }
.inputs div { display: grid; grid-template-columns: 15rem 1fr 2.2rem; gap: .4rem; break-inside: avoid; }
.inputs span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.inputs i { align-self: center; height: 7px; background: #1b2a49; min-width: 0; }
.inputs b { text-align: right; }
.inputs .none { color: #b04a00; }
"""
FEW_INPUTS = 200
"""Up to here they are shown at once, else on a click."""
ABOUT = {
    "masks": "Masks at each snapshot: dark weights are of the first one, orange ones, if any, grown since.",
    "connections": "Active weights of each output and input, sorted.",
    "values": "Estimated values against the returns that followed.",
    "density": "Density of each agent's network.",
    "neurons": "Neurons that agents have in common, of each layer that some agent has not whole.",
    "features": "Hidden features of the same observations in three agents, by t-SNE.",
}
"""What a picture shows, by the beginning of its name."""


class Inputs(NamedTuple):
    """What reads the inputs of a layer at one moment.

    Attributes:
        layer: its name.
        when: the moment in words.
        names: of the inputs, in order.
        counts: active weights of each.
    """

    layer: str
    when: str
    names: Sequence[str]
    counts: Sequence[int]


def inputs_of(
    layer: str, when: str, mask: Bool[np.ndarray, ...], names: Sequence[str] | None
) -> Inputs:
    """How many active weights each input of a layer has, those of all agents together.

    Args:
        layer: its name.
        when: the moment in words.
        mask: [outputs, inputs], of independent agents with one more axis before.
        names: of the inputs; numbers where they are None or not as many.
    """
    counts = mask.reshape(-1, mask.shape[-1]).sum(axis=0)
    known = names is not None and len(names) == len(counts)
    texts = names if names is not None and known else [f"input {k}" for k in range(len(counts))]
    return Inputs(layer, when, list(texts), counts.tolist())


def write_index(
    folder: Path, title: str, pictures: Sequence[Path], inputs: Inputs | None, notes: Sequence[str]
) -> Path:
    """Writes the page beside its pictures.

    Args:
        folder: of the page.
        title: the run in a few words.
        pictures: in it, in their order.
        inputs: of the agent's first layer; None where its masks were not drawn.
        notes: what could not be drawn, and why.

    Raises:
        StorageError: it cannot be written.
    """
    sections: dict[str, list[str]] = {}
    for picture in pictures:
        kind, _, layer = picture.stem.partition("-")
        text = f'<p class="quiet">{escape(ABOUT[kind])}</p>'
        image = f'<img src="{escape(picture.name)}" alt="{escape(picture.stem)}" loading="lazy">'
        sections.setdefault(layer or kind, []).append(text + image)
    if inputs is not None and inputs.layer in sections:
        sections[inputs.layer].append(_inputs_text(inputs))
    links = "".join(f'<a href="#{escape(name)}">{escape(name)}</a>' for name in sections)
    body = [f"<h1>{escape(title)}</h1>", f"<nav>{links}</nav>"]
    body += [f'<p class="quiet">{escape(note)}</p>' for note in notes]
    for name, parts in sections.items():
        body.append(f'<h2 id="{escape(name)}">{escape(name)}</h2>' + "".join(parts))
    return _write(folder, title, "\n".join(body))


def write_contents(folder: Path, title: str, pages: Sequence[Path]) -> Path:
    """Writes a page that leads to those of several seeds.

    Args:
        folder: of the page.
        title: the runs in a few words.
        pages: below it.

    Raises:
        StorageError: it cannot be written.
    """
    links = "".join(
        f'<p><a href="{escape(page.relative_to(folder).as_posix())}">{escape(page.parent.name)}</a></p>'
        for page in pages
    )
    return _write(folder, title, f"<h1>{escape(title)}</h1>{links}")


def _inputs_text(inputs: Inputs) -> str:
    most = max(1, *inputs.counts)
    rows = "".join(
        f'<div{"" if count else " class=none"}><span title="{escape(name)}">{escape(name)}</span>'
        f'<i style="width:{100 * count / most:.0f}%"></i><b>{count}</b></div>'
        for name, count in zip(inputs.names, inputs.counts, strict=True)
    )
    unread = sum(count == 0 for count in inputs.counts)
    text = f"Active weights of each input after {inputs.when}; {unread} of {len(inputs.counts)} have none."
    shown = " open" if len(inputs.counts) <= FEW_INPUTS else ""
    return (
        f'<details{shown}><summary class="quiet">{escape(text)}</summary>'
        f'<div class="inputs">{rows}</div></details>'
    )


def _write(folder: Path, title: str, body: str) -> Path:
    path = folder / FILE_NAME
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )
    write_atomically(path, page.encode())
    return path
