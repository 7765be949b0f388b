"""What an unknown word was meant to be: the closest known one, or what other libraries call a setting."""

import difflib
from collections.abc import Collection

OTHER_NAMES = {
    # Abbreviations.
    "algo": "algorithm",
    "alg": "algorithm",
    "batch": "batch_size",
    "clip": "gradient_clip",
    "env": "environment",
    "gamma": "discount",
    "hidden": "hidden_size",
    "lambda": "td_lambda",
    "lr": "learning_rate",
    # PyMARL.
    "standardise_obs": "normalise_observations",
    "batch_size_run": "parallel_envs",
    "buffer_size": "buffer_episodes",
    "epsilon_anneal_time": "epsilon_steps",
    "epsilon_finish": "epsilon_end",
    "grad_norm_clip": "gradient_clip",
    "hypernet_embed": "hypernet_hidden",
    "map_name": "environment",
    "optim_alpha": "rms_decay",
    "optim_eps": "rms_epsilon",
    "rnn_hidden_dim": "hidden_size",
    "t_max": "steps",
    "test_interval": "eval_interval",
    "test_nepisode": "eval_episodes",
    # JaxMARL, Stable-Baselines3, CleanRL, RLlib.
    "env_id": "environment",
    "env_name": "environment",
    "eps_decay": "epsilon_steps",
    "eps_finish": "epsilon_end",
    "eval_freq": "eval_interval",
    "hidden_dim": "hidden_size",
    "learning_starts": "warmup_env_steps",
    "map": "environment",
    "max_grad_norm": "gradient_clip",
    "max_steps": "steps",
    "norm_obs": "normalise_observations",
    "normalize_observations": "normalise_observations",
    "n_envs": "parallel_envs",
    "num_envs": "parallel_envs",
    "num_seeds": "seeds",
    "replay_buffer_size": "buffer_episodes",
    "scenario": "environment",
    "timesteps": "steps",
    "total_timesteps": "steps",
}
"""What others call a setting, where its letters do not tell."""


def did_you_mean(word: str, known: Collection[str]) -> str:
    """The hint at the end of an error message; empty if nothing is close."""
    return _hint(_closest(word, known))


def did_you_mean_setting(word: str, known: Collection[str]) -> str:
    """The same for a setting, as `meant_setting` finds it."""
    return _hint(meant_setting(word, known))


def meant_setting(word: str, known: Collection[str]) -> str | None:
    """The name that a word stands for; None where it is none of those known.

    Args:
        word: as typed, with any dashes.
        known: names that can be meant here, with underscores.
    """
    plain = word.lower().strip("-").replace("-", "_")
    meant = OTHER_NAMES.get(plain, plain)
    if meant in known:
        return meant
    if plain in OTHER_NAMES:
        return None  # understood, but without a place here: no misspelling of something else
    begun = [name for name in known if plain and name.startswith(plain)]
    return min(begun, key=len) if begun else _closest(plain, known)


def _closest(word: str, known: Collection[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word, known, n=1)), None)


def _hint(meant: str | None) -> str:
    return f" (did you mean {meant}?)" if meant else ""
