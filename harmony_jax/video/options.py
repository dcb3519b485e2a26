"""The command's options for clips. This module loads quickly, as --help does."""

import argparse
from fractions import Fraction

from harmony_jax.errors import InputError
from harmony_jax.video.files import CONTAINERS, is_clip

# Options that only photos have, or only clips, with their defaults.
_OF_PHOTOS = {"images": None, "onto": None, "recursive": False, "subsampling": None, "mirror": True}
_OF_VIDEO = {"codec": None, "smoothing": None, "every": None, "fps": None}


def add_video_options(parser: argparse.ArgumentParser) -> None:
    """The options of clips."""
    add = parser.add_argument_group("video").add_argument
    text = "the first argument is a clip, or a folder with its frames, whatever its ending"
    add("--video", action="store_true", help=text)
    text = "such as h264, hevc, prores, or lossless ffv1 (default: the clip's own if possible)"
    add("--codec", metavar="NAME", help=text)
    text = "how far in time the change is averaged, a standard deviation (default: 4; 0: flickers)"
    add("--smoothing", type=float, metavar="FRAMES", help=text)
    text = "let the network see one of N frames, which is faster (default: 1)"
    add("--every", type=int, metavar="N", help=text)
    text = "frames a second of a folder that becomes a clip, such as 30000/1001 (default: 25)"
    add("--fps", metavar="RATE", help=text)


def is_video(options: argparse.Namespace) -> bool:
    """Whether the command is about a clip; raises InputError for options of the other kind."""
    clip = options.photo
    found = clip is not None and (
        options.video
        or is_clip(clip)
        or (options.mask is not None and is_clip(options.mask))
        or (options.output.suffix.lower() in CONTAINERS and not options.output.is_dir())
    )
    if found:
        for name, absent in _OF_PHOTOS.items():
            if getattr(options, name) != absent:
                raise InputError(f"--{name} is for photos, and {clip} is taken as a clip")
        return True
    for name, absent in _OF_VIDEO.items():
        if getattr(options, name) != absent:
            raise InputError(f"--{name} is for video (--video, if the ending does not tell)")
    if options.video:
        raise InputError("--video goes with one clip, or the folder of its frames")
    return False


def frame_rate(text: str | None) -> Fraction | None:
    """A rate such as 25 or 30000/1001; raises InputError unless it is one."""
    if text is None:
        return None
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise InputError(f"--fps {text}: expected frames a second, such as 25 or 30000/1001")
    return rate
