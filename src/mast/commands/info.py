"""`mast info`: the settings of a run, its size, its FLOPs and the density of each layer."""

from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from mast.accounting.costs import (
    Account,
    Cost,
    Costs,
)
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
from mast.config import Config, load_run_config, load_run_record, recorded_team, resolve
from mast.envs.names import check_id, is_code
from mast.envs.smac_sizes import PREFIX, smac_sizes
from mast.errors import UserError
from mast.execution.account import account_of, parameters_of_an_agent
from mast.folders import seed_folders
from mast.own_code import is_own
from mast.terminal.output import Output, plain_table
from mast.training.logging import read_metrics

SHAPING = (
    "algorithm",
    "method",
    "sparsity",
    "allocation",
    "pattern",
    "pruning",
    "prune_begin_fraction",
    "prune_end_fraction",
    "operator",
    "hidden_size",
    "mixer_embed",
    "hypernet_hidden",
    "unrestricted_hidden",
    "hidden_layers",
    "sharing",
    "prune_ratio",
    "critic_prune_ratio",
    "seps_clusters",
    "density_per_agent",
    "preset",
    "learning_rate",
    "step_exponent",
    "step_cap",
    "final_learning_rate",
    "anneal_begin_fraction",
    "from_run",
    "state_last_action",
    "episode_limit",
    "env_args",
)
"""The settings that size, FLOPs, densities and steps depend on."""


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
        if run is None:
            config = _with_source(config)
        sizes = _sizes(config) if run is None else _sizes_of_run(run, config)
        runs_code = run is not None and is_own(config.algorithm)
        account = None if sizes is None or runs_code else account_of(config, sizes)
        own = None if account is None else parameters_of_an_agent(config, sizes)
    identity = config.environment if sizes is None else sizes.identity
    _show_settings(config, set(given), identity, output)
    if run is not None:
        for folder in seed_folders(run, config):
            _show_progress(folder, output)
    if runs_code:
        output.say(
            f"\nmast info does not import a run's code; for size and FLOPs: mast info {config.environment} "
            f"--algorithm {config.algorithm}"
        )
    elif account is None:
        output.say(
            f"\nan older version did not record the sizes of {config.environment}, and mast info does not "
            f"import a run's code; for size and FLOPs: mast info {config.environment}"
        )
    else:
        _show_account(account, output)
        mean = ", as a mean over masks" if account.density < 1 else ""
        output.say(f"an agent uses {own:,.0f} parameters of the acting network, ids aside{mean}")
        output.say(_steps(config, account))
    output.result(_result(config, account, identity, run) | {"parameters_per_agent": own})
    return 0


def _imagined(environment: str, typed: dict[str, Any]) -> Config:
    """The settings of a run that could be started."""
    is_smac = environment.startswith(PREFIX)
    if not is_smac:
        try:
            check_id(environment)
        except UserError as error:
            raise UserError(f"{error}; nor is there a folder of that name") from None
    return resolve({"environment": environment} | typed, playable=not is_smac)


def _with_source(config: Config) -> Config:
    """The settings of a run that would begin with an earlier one."""
    if config.from_run is None:
        return config
    from mast.training.source import with_source

    return with_source(config)[0]


def _sizes(config: Config) -> Any:
    """The environment's sizes, under the names of `EnvironmentSpec`."""
    if config.environment.startswith(PREFIX):
        return smac_sizes(config.environment)
    from mast.execution.environment import environment_of

    return environment_of(config).spec


def _step_factor(config: Config, account: Account) -> float:
    """What the density multiplies the learning rate by."""
    from mast.sparsity.step_size import density_factor

    density = 1.0 if config.stays_dense else account.density
    return float(density_factor(density, config.step_exponent, config.step_cap))


def _steps(config: Config, account: Account) -> str:
    """The learning rate, what the density makes of it, and where it goes to in the end."""
    rate, factor = config.learning_rate, _step_factor(config, account)
    said = f"steps: learning rate {rate:g} × {factor:.2f} = {rate * factor:.3g} for every parameter"
    if config.anneals:
        said += f", after {config.anneal_begin_fraction:.0%} of the run in a straight line to "
        said += f"{config.final_learning_rate or rate:.3g}"
    return f"{said} (density^−step_exponent)"


def _sizes_of_run(run: Path, config: Config) -> Any:
    """The sizes that a run has recorded, of an environment that comes with Mast also those that it has.

    A user's own environment is not imported: it is code that a file names, and a look at a run needs none.
    None where its sizes are not recorded.
    """
    if not is_code(config.environment):
        return _sizes(config)
    folders = [run, *seed_folders(run, config)]
    known = (recorded_team(each) for each in folders if (each / "config.json").is_file())
    return next((team for team in known if team is not None), None)


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
    try:
        rows = read_metrics(run)
    except UserError as error:
        output.say(f"\n{error}; mast resume puts it back from the last checkpoint")
        return
    if not rows:
        output.say(f"\n{run}: no evaluation yet")
        return
    last = rows[-1]
    win = "" if last["win_rate"] is None else f", win rate {last['win_rate']:.2f}"
    output.say(f"\n{run}: last evaluation at {last['env_steps']:,} env steps{win}")


def _show_account(account: Account, output: Output) -> None:
    """Size and FLOPs of each layer and network, and of the whole, with their ratios to dense."""
    output.say("")
    table = plain_table()
    for heading in ("", "shape", "density", "parameters", "FLOPs training", "FLOPs acting"):
        table.add_column(heading, justify="left" if not heading else "right")
    for network in account.networks:
        for layer in network.layers:
            shape = f"{layer.outputs} × {layer.inputs}"
            if layer.copies > 1:
                shape = f"{layer.copies} × {shape}"
            table.add_row(
                f"{network.name} {layer.layer}", shape, f"{layer.density:.3f}", *_costs(layer.costs)
            )
        style = "bold" if network.layers else "dim"
        table.add_row(f"{network.name}", "", "", *_costs(network.costs), style=style)
    table.add_row("all, online", "", f"{account.density:.3f}", *_costs(account.costs), style="bold")
    output.show(table)
    size = account.costs.size
    targets = "without" if size.sparse == account.parameters else "with"
    output.say(
        f"\n{targets} target networks {size.sparse:,.0f} of {size.dense:,.0f} parameters "
        f"({size.sparse / size.dense:.3f}); in brackets: share of dense; parameters count biases, "
        "FLOPs are of one step of the whole team (MAST, Appendix B.4)"
    )


def _costs(costs: Costs) -> tuple[str, str, str]:
    """Parameters, FLOPs of training and of acting, each with its share of dense."""
    return (_cost(costs.parameters), _cost(costs.flops_train), _cost(costs.flops_inference))


def _cost(cost: Cost) -> str:
    return "-" if cost.ratio is None else f"{cost.sparse:,.0f} ({cost.ratio:.3f})"


def _costs_json(costs: Costs) -> dict[str, Any]:
    """Each quantity, dense and their ratio; null where a network does not run."""
    return {
        name: {"sparse": cost.sparse, "dense": cost.dense, "ratio": cost.ratio}
        for name, cost in vars(costs).items()
    }


def _result(
    config: Config, account: Account | None, identity: str, run: Path | None
) -> dict[str, Any]:
    about = {
        "environment": identity,
        "settings": config.model_dump(mode="json"),
        "out": None if run is None else str(run),
    }
    if account is None:
        return about
    return about | {
        "parameters": account.parameters,
        "parameters_dense": account.parameters_dense,
        "density": account.density,
        "size_ratio": account.size_ratio,
        "flops_train": account.costs.flops_train.sparse,
        "flops_train_ratio": account.flops_train_ratio,
        "flops_inference": account.costs.flops_inference.sparse,
        "flops_inference_ratio": account.flops_inference_ratio,
        "step_factor": _step_factor(config, account),
        "networks": [
            {"network": network.name, **_costs_json(network.costs)} for network in account.networks
        ],
        "layers": [
            {
                "network": layer.network,
                "layer": layer.layer,
                "inputs": layer.inputs,
                "outputs": layer.outputs,
                "active": layer.active,
                "density": layer.density,
                **_costs_json(layer.costs),
            }
            for layer in account.layers
        ],
    }


INFO = Command(
    "info",
    "settings, size, FLOPs and density per layer of a run or an environment",
    "Tells about a run's folder, or what a run on an environment would be like.",
    (
        Option(
            "target",
            "a run's folder, or an environment such as smax/3m or smac/3s5z (sizes only)",
            "DIR|ENV",
            positional=True,
        ),
        QUIET,
        JSON,
        *setting_options(SHAPING),
    ),
    run_info,
)
