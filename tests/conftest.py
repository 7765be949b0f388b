"""Every test runs with jaxtyping's shape checks on our own modules (hooking `jaxmarl` crashes)."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

install_import_hook("mast", "beartype.beartype")
