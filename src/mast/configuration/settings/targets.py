"""Settings of the targets, and of the algorithms with targets of their own."""

from typing import Literal

from pydantic import BaseModel

from mast.configuration.settings.declaration import setting

TARGET = "targets"
WQMIX = "algorithms owqmix and cwqmix"
RES = "algorithm res"


class TargetSettings(BaseModel):
    """What the values are trained towards."""

    discount: float = setting(0.99, TARGET, "discount γ", "MAST Table 5", ge=0, le=1)
    operator: Literal["max", "softmax", "mellowmax", "soft_mellowmax", "res_softmax"] = setting(
        "max",
        TARGET,
        "operator over the target network's action values; res_softmax, over joint actions, belongs to "
        "algorithm res",
        "MAST eq. 3",
    )
    double_q: bool = setting(
        True, TARGET, "operator max: the online network chooses the action", "MAST Table 5"
    )
    softmax_beta: float = setting(
        5.0,
        TARGET,
        "inverse temperature β of softmax and res_softmax (RES authors' code: 0.05)",
        "MAST Table 5 (RES)",
        ge=0,
        le=10**6,
    )
    omega: float = setting(
        10.0, TARGET, "ω of mellowmax and soft_mellowmax", "MAST Table 5", gt=0, le=10**6
    )
    soft_mellowmax_alpha: float = setting(
        1.0, TARGET, "α of soft_mellowmax; 0 is mellowmax", "MAST Table 5", ge=0, le=10**6
    )
    targets: Literal["one_step", "n_step", "delayed_n_step", "td_lambda", "hybrid"] = setting(
        "one_step",
        TARGET,
        "return that is learned; hybrid is one-step before T_0 and the λ-return after (MAST), "
        "delayed_n_step one-step before its delay and n-step after (RLx2)",
        "MAST eq. 5",
    )
    td_lambda: float = setting(
        0.8,
        TARGET,
        "λ of td_lambda and hybrid; 0 = one-step, 1 = Monte Carlo",
        "MAST Table 5",
        ge=0,
        le=1,
    )
    burn_in_fraction: float = setting(
        0.375, TARGET, "hybrid: share of the steps before T_0", "MAST Table 4", ge=0, le=1
    )
    n_step: int = setting(
        3, TARGET, "rewards in the return of n_step and delayed_n_step", "RLx2", ge=1, le=1_000_000
    )
    delay_fraction: float = setting(
        0.1,
        TARGET,
        "delayed_n_step: share of the steps before the delay",
        "our choice",
        ge=0,
        le=1,
    )


class WeightedSettings(BaseModel):
    """Weighted QMIX."""

    weight_alpha: float = setting(
        0.1, WQMIX, "weight α of a step that is not underestimated", "MAST Table 5", ge=0, le=1
    )
    weights_from: Literal["target_unrestricted", "online_restricted"] = setting(
        "target_unrestricted",
        WQMIX,
        "utilities that a soft operator takes its weights from; values are the unrestricted target's",
        "our choice",
    )


class ResSettings(BaseModel):
    """RES."""

    res_regulariser: float = setting(
        0.05,
        RES,
        "λ of the pull of Q_tot towards the episode's discounted return",
        "RES",
        ge=0,
        le=10**6,
    )
    res_unavailable: Literal["exclude", "include"] = setting(
        "exclude",
        RES,
        "joint actions with an unavailable action: left out, or let in as in the original",
        "our choice",
    )
