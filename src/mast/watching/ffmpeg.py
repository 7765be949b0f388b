"""The program that makes mp4 files: ffmpeg, of the machine or of the package imageio-ffmpeg."""

import shutil

from mast.errors import UserError


def ffmpeg() -> str:
    """Its path.

    Raises:
        UserError: there is none.
    """
    found = shutil.which("ffmpeg")
    if found is not None:
        return found
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return str(get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        raise UserError(
            "mp4 needs ffmpeg: install it, or pip install imageio-ffmpeg; .gif and .html need neither"
        ) from None
