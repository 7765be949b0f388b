"""The commands of `mast`: what each reads, does and prints. None imports JAX before it must."""
