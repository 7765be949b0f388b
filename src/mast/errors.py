"""The errors a user can meet, each one line; the command line turns them into exit codes."""


class UserError(Exception):
    """A user's mistake: which setting or file, what it was, what is allowed. Exit code 2."""


class EnvironmentFailure(UserError):
    """An environment that raised, or broke its contract; nothing of what was learnt is lost."""


class StorageError(UserError):
    """A file that the system cannot write or a folder that is gone; nothing that was saved is lost."""


class SelfCheckError(Exception):
    """Numbers that cannot be right (NaN, a broken invariant). Exit code 3."""


class EnvironmentNaN(SelfCheckError):
    """An environment that gave a NaN; nothing of what was learnt is lost."""
