"""The films of `mast watch`: gif by Pillow, mp4 by ffmpeg, drawn by matplotlib.

Jaxmarl's own visualiser draws SMAX's units and bullets, but neither health nor anything of what the team
thinks; it saves a whole figure for each of nine pictures of a step and lays that over itself.
"""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Ellipse, Rectangle

from mast.envs.scene import Scene
from mast.errors import UserError
from mast.files import made_whole
from mast.watching.episodes import CUT, DRAW, ENDED, LOST, WON, Shown
from mast.watching.ffmpeg import ffmpeg

FRAMES_PER_SECOND = 4
LAST_FRAMES = 6
"""How often the last frame of an episode is shown, so that its outcome can be read."""
CROWD = 24
"""Units: beyond, none has its number, and only the hurt have a bar."""
SIZE, DPI = (9.6, 5.4), 100
COLOURS = ("#2563b8", "#c8402f", "#8a8f98")
"""Of allies, enemies and landmarks."""
OUTCOME = {WON: "#2e8b57", LOST: "#c8402f", DRAW: "#66717f", CUT: "#66717f", ENDED: "#66717f"}
DIM, HURT, HEALED, RETURN = "#66717f", "#f0b429", "#2e8b57", "#d98a00"


def write_film(out: Path, about: Mapping[str, Any], shown: Sequence[Shown]) -> None:
    """Write episodes, one after the other, as a film.

    Args:
        out: the file, .gif or .mp4.
        about: facts of environment and policy, see `mast.watching.run`.
        shown: the episodes, each with a scene.

    Raises:
        UserError: it cannot be written, or there is no ffmpeg for an mp4.
    """
    # What stands between dollars would be set as mathematics.
    about = {
        name: [str(each).replace("$", r"\$") for each in value]
        if isinstance(value, list)
        else value
        for name, value in about.items()
    }
    frames = (frame for index in range(len(shown)) for frame in _frames(about, shown, index))
    with made_whole(out) as partial:
        (_gif if out.suffix == ".gif" else _mp4)(partial, frames)


def _gif(path: Path, frames: Iterator[np.ndarray]) -> None:
    from PIL import Image

    first = Image.fromarray(next(frames)).quantize(128)
    # One palette for all, of the first frame: a third of the time, and nothing flickers.
    rest = (
        Image.fromarray(frame).quantize(palette=first, dither=Image.Dither.NONE) for frame in frames
    )
    first.save(path, save_all=True, append_images=rest, duration=1000 // FRAMES_PER_SECOND, loop=0)


def _mp4(path: Path, frames: Iterator[np.ndarray]) -> None:
    width, height = (round(DPI * length) for length in SIZE)
    command = [
        ffmpeg(), "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24",
        "-s", f"{width}x{height}", "-r", str(FRAMES_PER_SECOND), "-i", "-",
        "-pix_fmt", "yuv420p", "-r", "24", str(path),
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        try:
            for frame in frames:
                process.stdin.write(frame.tobytes())
            process.stdin.close()
        except BrokenPipeError:
            pass  # it has said why
        said = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        raise UserError(f"ffmpeg could not make the mp4: {said.splitlines()[-1] if said else '?'}")


def _frames(about: Mapping[str, Any], shown: Sequence[Shown], index: int) -> Iterator[np.ndarray]:
    """The pictures of one episode, [height, width, 3] bytes."""
    episode = shown[index]
    figure = Figure(SIZE, dpi=DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        2, 2, left=0.02, right=0.985, top=0.89, bottom=0.07, width_ratios=(1.05, 1),
        height_ratios=(1.5, 1), wspace=0.27, hspace=0.42,
    )  # fmt: skip
    stage = figure.add_subplot(grid[:, 0])
    table = figure.add_subplot(grid[0, 1])
    plot = figure.add_subplot(grid[1, 1])
    figure.text(0.03, 0.94, about["environment"], size=13, weight="bold")
    caption = figure.text(0.985, 0.94, "", size=10, ha="right", color=DIM)
    cursor = _plot(plot, episode)
    steps = len(episode.action)
    for step in range(steps + 1):
        caption.set_text(f"episode {index + 1} of {len(shown)} · step {step} of {steps}")
        _stage(stage, episode, step)
        _table(table, about, episode, step)
        cursor.set_xdata([step, step])
        canvas.draw()
        picture = np.asarray(canvas.buffer_rgba())[..., :3].copy()
        for _ in range(LAST_FRAMES if step == steps else 1):
            yield picture


def _stage(axes: Axes, episode: Shown, step: int) -> None:
    """Who is where, who aims at whom, who loses health."""
    scene = episode.scene
    assert scene is not None
    axes.clear()
    low, high = _view(scene)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xticks=[], yticks=[], aspect="equal")
    axes.set_facecolor("#eef1f4")
    axes.add_patch(_border(scene))
    place, size = scene.position[step], high[0] - low[0]
    over = step == len(episode.action)
    if scene.target is not None and not over:
        for agent, target in enumerate(scene.target[step]):
            if target >= 0:
                _shot(axes, scene, place, agent, int(target))
    present = (
        scene.present if scene.present is not None else np.ones(scene.position.shape[:2], bool)
    )
    for unit, (x, y) in enumerate(place):
        if not present[step, unit]:
            continue
        colour, radius = COLOURS[scene.side[unit]], max(scene.radius[unit], size / 60)
        health = 1.0 if scene.health is None else float(scene.health[step, unit])
        if health <= 0:
            axes.plot(x, y, "x", color=colour, alpha=0.45)
            continue
        hurt = not over and (
            not present[step + 1, unit]
            or (scene.health is not None and scene.health[step + 1, unit] < health)
        )
        edge = {"ec": HURT, "lw": 2.5} if hurt else {"ec": "none"}
        if scene.health is not None and not over and scene.health[step + 1, unit] > health:
            edge = {"ec": HEALED, "lw": 2.5}
        layer = 3.0
        if scene.flies is not None and scene.flies[unit]:  # above the others, with wings
            layer = 4.5
            wings = Ellipse((x, y), 3.8 * radius, 0.9 * radius, fc=colour, ec="white", zorder=4.4)
            axes.add_patch(wings)
        alpha = 0.75 if layer > 3 else 1.0
        axes.add_patch(Circle((x, y), radius, fc=colour, zorder=layer, alpha=alpha, **edge))
        if scene.health is not None and not (len(place) > CROWD and health == 1):
            bar = np.array([x - size / 40, x - size / 40 + health * size / 20])
            axes.plot(bar, [y + radius + size / 60] * 2, color=colour, lw=2.5, zorder=4)
        if len(place) <= CROWD:
            label = scene.labels[unit] if scene.labels else scene.names[unit].rpartition("_")[2]
            axes.text(
                x, y, label, size=6, color="white", ha="center", va="center", zorder=5, clip_on=True
            )
    if over:
        axes.text(
            0.03, 0.96, episode.outcome, transform=axes.transAxes, va="top", size=15, weight="bold",
            color=OUTCOME[episode.outcome],
        )  # fmt: skip


def _shot(axes: Axes, scene: Scene, place: np.ndarray, agent: int, target: int) -> None:
    """At whom an agent aims: a line, green where it heals, and across its end the beam that it fires."""
    heals = scene.side[target] == scene.side[agent]
    colour = HEALED if heals else COLOURS[0]
    axes.plot(*place[[agent, target]].T, color=colour, ls="--", lw=1.2, alpha=0.8)
    width = 0.0 if heals or scene.beam is None else scene.beam[agent]
    if width:
        along = place[target] - place[agent]
        length = float(np.hypot(*along))
        along = along / length if length else np.array([1.0, 0.0])
        half = np.array([-along[1], along[0]]) * width / 2
        ends = np.array([place[target] - half, place[target] + half])
        # Above all: whom it hits would hide it.
        axes.plot(*ends.T, color=HURT, lw=3.0, alpha=0.85, zorder=6)


def _view(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """The square that holds every place where a unit ever is."""
    low, high = scene.position.min((0, 1)), scene.position.max((0, 1))
    half = (high - low).max() / 2 + 1.5 * max(scene.radius) + 0.04 * np.ptp(scene.x_range)
    middle = (low + high) / 2
    return middle - half, middle + half


def _border(scene: Scene) -> Any:
    (x, right), (y, top) = scene.x_range, scene.y_range
    return Rectangle((x, y), right - x, top - y, fill=False, ec=DIM, lw=1.5)


def _table(axes: Axes, about: Mapping[str, Any], episode: Shown, step: int) -> None:
    """A row per agent: name, health and action beside the values of its available actions."""
    axes.clear()
    over = step == len(episode.action)
    agents, actions = episode.q.shape[1:]
    low, high = episode.q[episode.available].min(), episode.q[episode.available].max()
    if not over:
        q = np.where(episode.available[step], episode.q[step], np.nan)
        axes.imshow(q, cmap="Blues", vmin=low - 0.3 * (high - low), vmax=high, aspect="auto")
        taken = episode.action[step]
        for agent, action in enumerate(taken):
            corner = (action - 0.5, agent - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, ec=RETURN, lw=1.8, zorder=3))
        if agents * actions <= 120:
            for (agent, action), value in np.ndenumerate(q):
                if np.isfinite(value):
                    dark = value > low + 0.55 * (high - low)
                    axes.text(
                        action, agent, f"{value:.2f}", size=6, ha="center", va="center",
                        color="white" if dark else "black",
                    )  # fmt: skip
    rows = []
    for agent, name in enumerate(about["agents"]):
        health = ""
        if episode.scene is not None and episode.scene.health is not None:
            share = episode.scene.health[step, agent]
            health = f"  {share:.0%}" if share > 0 else "  dead"
        names = (about.get("agent_actions") or [about["actions"]] * (agent + 1))[agent]
        rows.append(f"{name}{health}\n{'' if over else names[episode.action[step, agent]]}")
    axes.set(xlim=(-0.5, actions - 0.5), ylim=(agents - 0.5, -0.5))
    axes.set_yticks(
        range(agents), rows if agents <= 10 else about["agents"], size=7 if agents <= 10 else 4
    )
    if actions <= 16:
        axes.set_xticks(range(actions), about["actions"], size=6, rotation=30, ha="right")
    else:
        axes.set_xticks([])
    axes.set_title(
        f"{about.get('values', 'action values')}; □ the action taken", size=8, loc="left", color=DIM
    )
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _plot(axes: Axes, episode: Shown) -> Any:
    """The team's value against the return that followed, and a cursor to be moved."""
    steps = np.arange(len(episode.to_come))
    axes.plot(steps, episode.to_come, color=RETURN, label="return to come, discounted")
    if episode.q_tot is not None:
        axes.plot(steps, episode.q_tot, color=COLOURS[0], label="Q_tot")
    axes.legend(fontsize=7, frameon=False, loc="best")
    axes.tick_params(labelsize=7)
    axes.set_xlim(0, len(steps))
    axes.grid(color="#e1e5ea")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return axes.axvline(0, color=DIM, ls=":", lw=1.2)
