"""Policies: damaged, foreign, without numbers, against their masks, of wrong sizes."""

import json
import struct
import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from campaign.damage import OTHER, flip, replace_by_folder
from campaign.trial import Trial, one_line
from export.teams import SPEC, make_run
from mast.export.network import networks_of
from mast.policy import LAYERS, Policy, check_fit
from mast.policy_file import CHECKSUM, read_policy_file, write_policy_file

NAME = "policy.safetensors"
FEATURES, ACTIONS, AGENTS = SPEC.observation, SPEC.actions, SPEC.agents
Tensors = dict[str, np.ndarray]
Description = dict[str, Any]
Change = Callable[[Tensors, Description], object]


@cache
def original() -> tuple[tempfile.TemporaryDirectory[str], bytes]:
    """A sparse team's file, whole."""
    folder = tempfile.TemporaryDirectory()
    return folder, (make_run(Path(folder.name), hidden=8) / NAME).read_bytes()


def content() -> bytes:
    """The bytes of the whole file."""
    return original()[1]


def parts() -> tuple[Tensors, Description]:
    """Its tensors, which may be changed, and its description without the checksum."""
    whole = content()
    header = json.loads(whole[8 : 8 + struct.unpack("<Q", whole[:8])[0]])
    description = json.loads(header["__metadata__"]["mast"])
    del description[CHECKSUM]
    return {name: tensor.copy() for name, tensor in load(whole).items()}, description


def read_everywhere(path: Path) -> str | None:
    """As `evaluate`, `watch` and `export` do; what the file is refused with, and None if it plays."""

    def play() -> None:
        policy = Policy.load(path)
        check_fit(path, policy.description, SPEC)
        networks_of(policy)
        everything = np.ones((AGENTS, ACTIONS), bool)
        action, _ = policy.act(np.zeros((AGENTS, FEATURES), "f4"), everything)
        assert ((action >= 0) & (action < ACTIONS)).all()

    return one_line(play)


def damage(change: Callable[[Path], object], folder: Path) -> None:
    """Other bytes: refused, unless every tensor and the description are still the same."""
    path = folder / NAME
    path.write_bytes(content())
    change(path)
    if read_everywhere(path) is None:
        description, tensors = read_policy_file(path)
        # A bit of the checksum's own name makes the file one of those without: the rest must be the same.
        known = {name: value for name, value in description.items() if name in parts()[1]}
        assert len(description) - len(known) <= 1
        assert (known, sorted(tensors)) == (parts()[1], sorted(parts()[0]))
        for name, tensor in parts()[0].items():
            np.testing.assert_array_equal(tensors[name], tensor)


def damage_older(place: int, folder: Path) -> None:
    """One bit of a file without a checksum, as there were: refused, or it plays."""
    tensors, description = parts()
    path = folder / NAME
    path.write_bytes(save(tensors, metadata={"mast": json.dumps(description)}))
    flip(path, place)
    read_everywhere(path)


def refuse(change: Change, checksum: bool, folder: Path) -> None:
    """Written by somebody else, and wrong: with a checksum of its own or, as older files, without."""
    tensors, description = parts()
    change(tensors, description)
    path = folder / NAME
    if checksum:
        write_policy_file(path, tensors, description)
    else:
        path.write_bytes(save(tensors, metadata={"mast": json.dumps(description)}))
    assert read_everywhere(path), "a wrong policy was accepted"


def put(name: str, value: float) -> Change:
    """One number of a tensor, where there is one."""

    def change(tensors: Tensors, _: Description) -> None:
        tensors[name].flat[np.flatnonzero(tensors[name])[0]] = value

    return change


def contradict(layer: str) -> Change:
    """A mask without the connections whose weights there are."""

    def change(tensors: Tensors, _: Description) -> None:
        tensors[f"{layer}.mask"][tensors[f"{layer}.weight"] != 0] = 0

    return change


def cast(name: str, kind: str) -> Change:
    """A tensor of another number type."""
    return lambda tensors, _: tensors.update({name: tensors[name].astype(kind)})


def cut(name: str, axis: int) -> Change:
    """A tensor without its last row or column."""
    return lambda tensors, _: tensors.update(
        {name: np.delete(tensors[name], -1, min(axis, tensors[name].ndim - 1))}
    )


def describe(name: str, value: object) -> Change:
    """Another value in the description."""
    return lambda _, description: description.update({name: value})


SIZE_VALUES = (0, -1, 1, 2**20, 2**31, 2**63, 10**30, 1.0, True, None, "3", [3], {})


def wrong(long: bool) -> Iterator[tuple[str, str, Change]]:
    """Group, name and change of what no policy of this version has."""
    for layer in LAYERS:
        for part in ("weight", "bias"):
            for value in (np.nan, np.inf, -np.inf):
                name = f"{layer}.{part}"
                yield "policies: no numbers", f"{name} = {value}", put(name, value)
        yield "policies: masks", f"{layer} contradicts", contradict(layer)
        for value in (2, 255):
            yield "policies: masks", f"{layer} holds {value}", put(f"{layer}.mask", value)
    for size in ("features", "actions", "agents", "hidden_size"):
        for value in SIZE_VALUES:
            change = describe(size, value)
            yield "policies: wrong sizes", f"{size} = {value!r}", change
    swapped = {"features": FEATURES - 1, "agents": AGENTS + 1}
    yield "policies: wrong sizes", "another team's", lambda _, told: told.update(swapped)
    for name in parts()[0]:
        for axis in (0, 1):
            yield "policies: wrong sizes", f"{name} cut at {axis}", cut(name, axis)
        for kind in ("f8", "f2", "i4", "i1") if long else ("f8", "i1"):
            yield "policies: wrong sizes", f"{name} as {kind}", cast(name, kind)
        yield "policies: foreign", f"no {name}", lambda tensors, _, name=name: tensors.pop(name)
    for key, value in (
        ("format", 3),
        ("format", [1]),
        ("format", None),
        ("sharing", "between friends"),
        ("sharing", ["shared"]),
        ("sharing", "independent"),
        ("format", 2),
    ):
        yield "policies: foreign", f"{key} = {value!r}", describe(key, value)
    more = {"fc3.weight": np.zeros((2, 2), "f4")}
    yield "policies: foreign", "one tensor more", lambda tensors, _: tensors.update(more)
    yield "policies: foreign", "nothing", lambda tensors, _: tensors.clear()
    yield "policies: foreign", "no description", lambda _, description: description.clear()


FOREIGN = {
    "another's tensors": lambda: save({"x": np.zeros(3, "f4")}),
    "another's metadata": lambda: save({"x": np.zeros(3, "f4")}, metadata={"format": "pt"}),
    "deep JSON": lambda: save({}, metadata={"mast": "[" * 20_000 + "]" * 20_000}),
    "a huge header": lambda: struct.pack("<Q", 2**62) + content()[8:],
    "twice": lambda: content() + content(),
}
"""Name → bytes of what is no policy of ours."""


def trials(long: bool) -> Iterator[Trial]:
    """Bits, cuts, other files in its place, and what somebody else may have written."""
    size = len(content())
    rng = np.random.default_rng(0)
    for place in rng.integers(0, 2**31, 2000 if long else 40).tolist():
        play = partial(damage, partial(flip, place=place))
        yield Trial("policies: one bit", f"bit {place}", play)
        play = partial(damage_older, place)
        yield Trial("policies: one bit, no checksum", f"bit {place}", play)
    for place in range(0, 8 * 200, 1 if long else 40):  # the length of the header, and its start
        play = partial(damage, partial(flip, place=place))
        yield Trial("policies: one bit of the header", f"bit {place}", play)
    for length in sorted({0, 1, 7, 8, 9, size - 1, *rng.integers(0, size, 300 if long else 10)}):
        cut_off = partial(Path.write_bytes, data=content()[: int(length)])
        yield Trial("policies: truncated", f"{length} bytes", partial(damage, cut_off))
    others = OTHER | {name: make() for name, make in FOREIGN.items()}
    for name, data in others.items():
        put_there = partial(Path.write_bytes, data=data)
        yield Trial("policies: foreign", name, partial(damage, put_there))
    yield Trial("policies: foreign", "gone", partial(damage, Path.unlink))
    yield Trial("policies: foreign", "folder", partial(damage, replace_by_folder))
    for group, name, change in wrong(long):
        for checksum in (True, False):
            said = f"{name}, {'with' if checksum else 'without'} checksum"
            yield Trial(group, said, partial(refuse, change, checksum))
