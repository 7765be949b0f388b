"""Environments of other libraries, each library in one file; `mast.envs.names.ADAPTERS` lists them."""
