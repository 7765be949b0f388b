"""`mast info`: the settings of a run, its size, its FLOPs and the density of each layer."""

from pathlib import Path
from typing import Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mast.commands.options import (
    JSON,
    QUIET,
    Command,
    Option,
    Values,
    given_settings,
    required,
    setting_options,
)
from mast.commands.output import Output
from mast.config import Config, load_run_config, load_run_record, resolve
from mast.envs.names import check_id
from mast.errors import UserError
from mast.folders import seed_folders
from mast.training.logging import read_metrics

SHAPING = (
    "algorithm",
    "method",
    "sparsity",
    "allocation",
    "hidden_size",
    "mixer_embed",
    "hypernet_hidden",
    "state_last_action",
    "episode_limit",
)
"""The settings that size, FLOPs and densities depend on."""


def run_info(values: Values) -> int:
    """Tells about a run's folder, or about a run that could be started on an environment."""
    output = Output(values)
    target = required(values, "target", "DIR|ENV", "runs/my-run or smax/3m")
    typed = given_settings(values)
    run = Path(target) if Path(target).is_dir() else None
    if run is None:
        config = _imagined(target, typed)
        given = typed
    elif typed:
        raise UserError(f"{next(iter(typed))}: settings can be given for an environment, not a run")
    else:
        config, given = load_run_config(run), load_run_record(run)["given"]
    with output.only_ours():
        account, identity = _account(config)
    _show_settings(config, set(given), identity, output)
    if run is not None:
        for folder in seed_folders(run, config):
            _show_progress(folder, output)
    _show_account(account, output)
    output.result(_result(config, account, identity, run))
    return 0


def _imagined(environment: str, typed: dict[str, Any]) -> Config:
    """The settings of a run that could be started."""
    try:
        check_id(environment)
    except UserError as error:
        raise UserError(f"{error}; nor is there a folder of that name") from None
    return resolve({"environment": environment} | typed)


def _account(config: Config) -> tuple[Any, str]:
    from mast.envs.registry import environment_of
    from mast.training.report import account_of

    environment = environment_of(config)
    return account_of(config, environment.spec), environment.spec.identity


def _show_settings(config: Config, given: set[str], identity: str, output: Output) -> None:
    output.say(f"{identity}\n")
    groups: dict[str, Text] = {}
    for name, info in Config.model_fields.items():
        assert isinstance(info.json_schema_extra, dict)
        text = groups.setdefault(str(info.json_schema_extra["group"]), Text())
        value = getattr(config, name)
        shown = str(value).lower() if value is None or isinstance(value, bool) else str(value)
        text.append(f"{name}={shown}", style="bold" if name in given else "")
        text.append("   ")
    table = Table.grid(padding=(0, 2))
    for group, text in groups.items():
        table.add_row(Text(group, style="dim"), text)
    output.show(table)


def _show_progress(run: Path, output: Output) -> None:
    rows = read_metrics(run)
    if not rows:
        output.say(f"\n{run}: no evaluation yet")
        return
    last = rows[-1]
    win = "" if last["win_rate"] is None else f", win rate {last['win_rate']:.2f}"
    output.say(f"\n{run}: last evaluation at {last['env_steps']:,} env steps{win}")


def _show_account(account: Any, output: Output) -> None:
    output.say("")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("layer")
    for heading in ("inputs", "outputs", "active", "of", "density"):
        table.add_column(heading, justify="right")
    for layer in account.layers:
        table.add_row(
            f"{layer.network} {layer.layer}",
            f"{layer.inputs:,}",
            f"{layer.outputs:,}",
            f"{layer.active:,}",
            f"{layer.inputs * layer.outputs:,}",
            f"{layer.density:.3f}",
        )
    output.show(Padding(table, (0, 0, 1, 0)))
    costs = account.costs
    totals = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    totals.add_column("")
    for heading in ("this run", "dense", "ratio"):
        totals.add_column(heading, justify="right")
    for name, cost in (
        ("parameters (with biases)", costs.parameters),
        ("size (targets too)", costs.size),
        ("FLOPs of a training step", costs.flops_train),
        ("FLOPs of acting, one step", costs.flops_inference),
    ):
        ratio = f"{cost.sparse / cost.dense:.4f}"
        totals.add_row(name, f"{cost.sparse:,.0f}", f"{cost.dense:,.0f}", ratio)
    output.show(totals)


def _result(config: Config, account: Any, identity: str, run: Path | None) -> dict[str, Any]:
    return {
        "environment": identity,
        "settings": config.model_dump(),
        "parameters": account.parameters,
        "parameters_dense": account.parameters_dense,
        "density": account.density,
        "size_ratio": account.size_ratio,
        "flops_train": account.costs.flops_train.sparse,
        "flops_train_ratio": account.flops_train_ratio,
        "flops_inference": account.costs.flops_inference.sparse,
        "flops_inference_ratio": account.flops_inference_ratio,
        "layers": [
            {
                "network": layer.network,
                "layer": layer.layer,
                "inputs": layer.inputs,
                "outputs": layer.outputs,
                "active": layer.active,
                "density": layer.density,
            }
            for layer in account.layers
        ],
        "out": None if run is None else str(run),
    }


INFO = Command(
    "info",
    "settings, size, FLOPs and density per layer of a run or an environment",
    "Tells about a run's folder, or what a run on an environment would be like.",
    (
        Option(
            "target",
            "a run's folder, or an environment such as smax/3m",
            "DIR|ENV",
            positional=True,
        ),
        QUIET,
        JSON,
        *setting_options(SHAPING),
    ),
    run_info,
)
