"""The package's rooms import one another without a circle."""

import ast
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import mast

ROOT = Path(mast.__file__).parent


def room_of(module: str) -> str:
    """mast.training.engine → training; a module of the root is a room of its own."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "mast"


def imports_of(tree: ast.Module) -> list[str]:
    """The modules of ours that a module imports when it is itself imported, not later and not for types."""
    found, nodes = [], list(tree.body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            nodes += node.body + node.orelse
        elif isinstance(node, ast.Try):
            nodes += node.body
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mast."):
            found.append(node.module)
    return found


def test_rooms_have_no_circle() -> None:
    rooms: dict[str, set[str]] = defaultdict(set)
    for path in ROOT.rglob("*.py"):
        name = ".".join(("mast", *path.relative_to(ROOT).with_suffix("").parts))
        room = room_of(name.removesuffix(".__init__"))
        others = {room_of(module) for module in imports_of(ast.parse(path.read_text()))}
        rooms[room] |= others - {room, "mast"}
    order = list(TopologicalSorter(rooms).static_order())  # raises CycleError and names the circle
    for first, second in (
        ("sparsity", "networks"),
        ("networks", "accounting"),
        ("accounting", "algorithms"),
        ("envs", "execution"),
        ("learning", "algorithms"),
        ("algorithms", "configuration"),
        ("configuration", "execution"),
        ("execution", "training"),
        ("training", "loops"),
        ("loops", "runs"),
        ("runs", "commands"),
        ("studies", "commands"),
    ):
        assert order.index(first) < order.index(second)
