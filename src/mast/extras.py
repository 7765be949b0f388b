"""Packages that a plain install does not bring. Imports none of them."""

import importlib.util

from mast.errors import UserError

SHARING = "pip install 'mast-marl[sharing]'"
ONNX = "pip install 'mast-marl[onnx]'"
REPORT = "pip install 'mast-marl[report]'"


def is_installed(package: str) -> bool:
    """Whether a package can be imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ValueError, ImportError):
        return False


def check_matplotlib(what: str) -> None:
    """Makes sure that pictures can be drawn.

    Args:
        what: that wants them, for the message.

    Raises:
        UserError: matplotlib is not installed.
    """
    if not is_installed("matplotlib"):
        raise UserError(f"{what} draws with matplotlib, which is not installed: {REPORT}")


def check_scikit_learn(what: str) -> None:
    """Makes sure that there is something to find clusters with.

    Args:
        what: that wants it, for the message.

    Raises:
        UserError: scikit-learn is not installed.
    """
    if not is_installed("sklearn"):
        raise UserError(f"{what} needs scikit-learn, which is not installed: {SHARING}")


def check_onnx() -> None:
    """Makes sure that an ONNX model can be made and tried.

    Raises:
        UserError: onnx or onnxruntime is not installed.
    """
    for package in ("onnx", "onnxruntime"):
        if not is_installed(package):
            raise UserError(f"{package} is not installed; ONNX needs: {ONNX}")


def events_notice() -> list[str]:
    """A line where TensorBoard's events cannot be written, which nothing else depends on."""
    if is_installed("tensorboardX"):
        return []
    return [f"no TensorBoard events: tensorboardX is not installed ({REPORT})"]
