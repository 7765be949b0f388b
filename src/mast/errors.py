"""The errors a user can meet, each one line; the command line turns them into exit codes."""


class UserError(Exception):
    """A user's mistake: which setting or file, what it was, what is allowed. Exit code 2."""


class SelfCheckError(Exception):
    """Numbers that cannot be right (NaN, a broken invariant). Exit code 3."""
