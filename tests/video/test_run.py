"""Clips from file to file, checked against frames that FFmpeg decodes."""

import io
import logging
import resource
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from harmony_jax.errors import InputError
from harmony_jax.photos.steady import Steadiness
from harmony_jax.video.run import VideoSettings, harmonize_clip
from tests.video.made import (
    HEIGHT,
    WIDTH,
    Kind,
    Painted,
    circle,
    decoded,
    frame_of,
    mask_clip,
    planes_in,
    random_planes,
    rgb_in,
    touched,
    write_clip,
)

RNG = np.random.default_rng(0)
COUNT = 8


def made_frames(format_: str, count: int = COUNT, size: tuple[int, int] = (HEIGHT, WIDTH)) -> list:
    return [frame_of(random_planes(format_, RNG, size), format_) for _ in range(count)]


def covers(count: int = COUNT) -> list[np.ndarray]:
    return [circle(number) for number in range(count)]


def run(clip: Path, mask: Path | None, output: Path, **settings: Any) -> list[Any]:
    harmonize_clip(Painted(), clip, mask, output, VideoSettings(**settings))
    return decoded(output) if output.is_file() else []


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """A clip of the format that most clips have, in a codec without loss."""
    return write_clip(tmp_path_factory.mktemp("clip") / "c.mkv", made_frames("yuv420p"))


@pytest.fixture(scope="module")
def mask(tmp_path_factory) -> Path:
    """Its masks."""
    return mask_clip(tmp_path_factory.mktemp("mask") / "m.mkv", covers())


@pytest.fixture
def warnings(caplog) -> Callable[[], str]:
    """Gives what was logged since the last call."""
    caplog.set_level(logging.WARNING)

    def text() -> str:
        found = caplog.text
        caplog.clear()
        return found

    return text


def check_background(before: Sequence[Any], after: Sequence[Any], masks: Sequence[np.ndarray]):
    """To the last bit where the mask is 0, chroma too; and inside something changed."""
    assert len(before) == len(after) == len(masks)
    for old, new, mask in zip(before, after, masks, strict=True):
        assert new.format.name == old.format.name
        for one, other in zip(planes_in(old), planes_in(new), strict=True):
            inside = touched(mask, one.shape)
            np.testing.assert_array_equal(one[~inside], other[~inside])
            assert (one != other)[inside].mean() > 0.5


@pytest.mark.parametrize(
    ("format_", "size"),
    [
        ("yuv420p", (HEIGHT, WIDTH)),
        ("yuv420p", (63, 95)),
        ("yuv422p10le", (HEIGHT, WIDTH)),
        ("yuv444p12le", (HEIGHT, WIDTH)),
        ("yuv411p", (HEIGHT, WIDTH)),
        ("gbrp10le", (HEIGHT, WIDTH)),
        ("gray", (HEIGHT, WIDTH)),
    ],
)
def test_the_background_stays_to_the_last_bit(tmp_path, format_, size):
    frames = made_frames(format_, size=size)
    clip = write_clip(tmp_path / "c.mkv", frames, Kind(format=format_))
    masks = [circle(number, size) for number in range(COUNT)]
    after = run(clip, mask_clip(tmp_path / "m.mkv", masks), tmp_path / "o.mkv")  # the own codec
    check_background(decoded(clip), after, masks)
    assert {path.name for path in tmp_path.iterdir()} == {"c.mkv", "m.mkv", "o.mkv"}


def test_interlaced_rows(tmp_path, mask):
    """Top fields first, by x264, which marks its frames; FFV1 marks none."""
    kind = Kind("libx264", options={"x264-params": "tff=1", "crf": "0"}, interlaced=True)
    clip = write_clip(tmp_path / "c.mp4", made_frames("yuv420p"), kind)
    before = decoded(clip)
    assert before[0].interlaced_frame
    after = run(clip, mask, tmp_path / "o.mp4", codec="h264", quality=100)
    assert all(frame.interlaced_frame for frame in after)
    for old, new, cover in zip(before, after, covers(), strict=True):
        for field in (0, 1):
            one, other = (planes_in(frame)[1][field::2] for frame in (old, new))
            outside = ~touched(cover[field::2], one.shape)
            np.testing.assert_array_equal(one[outside], other[outside])


def sound_and_text(container: Any) -> Any:
    """Adds sound and subtitles; gives what writes their packets."""
    sound = container.add_stream("pcm_s16le", rate=8000)
    sound.metadata["language"] = "deu"
    lines = io.BytesIO(b"1\n00:00:00,080 --> 00:00:00,180\na line\n")
    subtitles = av.open(lines, format="srt")  # open until the streams are written
    text = container.add_stream_from_template(subtitles.streams.subtitles[0])

    def write() -> None:
        for number in range(4):
            samples = RNG.integers(-999, 999, (1, 1024 * 2)).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples, "s16", "stereo")
            frame.sample_rate, frame.pts = 8000, number * 1024
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
        packet = av.Packet(b"a line")
        packet.stream, packet.time_base = text, Fraction(1, 1000)
        packet.pts = packet.dts = 80
        packet.duration = 100
        container.mux(packet)
        subtitles.close()

    return write


def packets(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as container:
        (stream,) = getattr(container.streams, kind)
        found = [packet for packet in container.demux(stream) if packet.size]
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in found]


def test_sound_subtitles_and_tags_come_along(tmp_path, mask, warnings):
    tags = {"title": "A title", "artist": "Somebody"}
    kind = Kind("libx264", colors=(5, 5, 6, 1), aspect=Fraction(4, 3), metadata=tags)
    clip = write_clip(tmp_path / "c.mkv", made_frames("yuv420p"), kind, more=sound_and_text)
    output = tmp_path / "o.mkv"
    for codec in ("ffv1", "h264"):
        run(clip, mask, output, codec=codec, overwrite=True)
        for name in ("audio", "subtitles"):
            assert packets(output, name) == packets(clip, name)
            assert packets(output, name)
        with av.open(str(output)) as container:
            assert {"title": "A title", "ARTIST": "Somebody"}.items() <= container.metadata.items()
            assert container.streams.audio[0].metadata["language"] == "deu"
            stream = container.streams.video[0]
            if codec == "h264":
                assert stream.sample_aspect_ratio == Fraction(4, 3)
            frame = next(container.decode(stream))
            found = (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range)
            assert found == kind.colors
    run(clip, mask, tmp_path / "o.webm", codec="vp9")
    assert "the audio stream 1 (pcm_s16le)" in warnings()  # which WebM does not hold
    with av.open(str(tmp_path / "o.webm")) as container:
        assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_times_and_rotation(tmp_path, rotation):
    """A phone's clip: variable frame rate, and stored on its side."""
    times = [0, 3000, 6100, 9000, 18000, 18100, 21000, 30000]
    rgb = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    rgb[:, WIDTH // 2 :] = 255  # white on the right as it is stored
    frames = [
        av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv420p") for _ in range(COUNT)
    ]
    kind = Kind("libx264", options={"crf": "5"}, rotation=rotation, colors=(1, 1, 1, 1))
    clip = write_clip(tmp_path / "c.mp4", frames, kind, times, Fraction(1, 90000))
    upright = np.rot90(rgb, round(rotation / 90))
    shape = upright.shape[:2]
    mask = np.zeros(shape, np.uint8)
    mask[: shape[0] // 2, : shape[1] // 2] = 255  # at the upper left as it is shown
    Image.fromarray(mask).save(tmp_path / "m.png")
    output = tmp_path / "o.mp4"
    harmonizer = Painted()
    harmonize_clip(harmonizer, clip, tmp_path / "m.png", output)
    before, after = decoded(clip), decoded(output)
    assert [(frame.rotation - rotation) % 360 for frame in after] == [0] * COUNT
    assert [f.pts * f.time_base for f in after] == [f.pts * f.time_base for f in before]
    # The clip itself says less: its encoder moved frames, which the container took for lengths.
    end = float((before[-1].pts + before[-1].duration) * before[-1].time_base)
    with av.open(str(clip)) as one, av.open(str(output)) as other:
        assert other.duration == pytest.approx(1e6 * end, abs=1)  # microseconds
        assert one.streams.video[0].time_base == other.streams.video[0].time_base
    # The network saw it upright, and the upper left changed.
    small = np.asarray(Image.fromarray(upright).resize((16, 16)), int)
    assert np.abs(harmonizer.seen[0] - small)[[2, 2, 13, 13], [2, 13, 2, 13]].max() < 16
    change = np.abs(np.rot90(rgb_in(after[2]) - rgb_in(before[2]), round(rotation / 90))).max(2)
    half = (slice(4, shape[0] // 2 - 4), slice(4, shape[1] // 2 - 4))
    assert change[half].min() > 10
    assert change[shape[0] // 2 + 4 :].max() < 6


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        pixels = RNG.integers(60, 180, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"f{number}.png")
    return folder


def test_folders_of_frames(tmp_path):
    frames = pictures(tmp_path / "frames", 12)  # f10 comes behind f9
    (tmp_path / "masks").mkdir()
    for number in range(12):
        Image.fromarray(circle(number)).save(tmp_path / "masks" / f"m{number}.png")
    run(frames, tmp_path / "masks", tmp_path / "out")
    for number in range(12):
        before, after = (
            np.asarray(Image.open(folder / f"f{number}.png")).astype(int)
            for folder in (frames, tmp_path / "out")
        )
        mask = circle(number)
        np.testing.assert_array_equal(after[mask == 0], before[mask == 0])
        change = (after - before)[mask == 255]
        np.testing.assert_array_equal(np.unique(change, axis=0), [[40, 20, -30]])
    # The same to a clip that loses nothing, and back to pictures.
    found = run(frames, tmp_path / "masks", tmp_path / "o.mkv", rate=Fraction(30), codec="ffv1")
    assert [frame.pts * frame.time_base for frame in found] == [
        pytest.approx(number / 30, abs=1e-3) for number in range(12)
    ]
    for number, frame in enumerate(found):
        expected = np.asarray(Image.open(tmp_path / "out" / f"f{number}.png"))
        np.testing.assert_array_equal(frame.to_ndarray(format="rgb24", threads=1), expected)
    run(tmp_path / "o.mkv", tmp_path / "masks", tmp_path / "back", strength=0.0)
    assert len(list((tmp_path / "back").iterdir())) == 12
    again = np.asarray(Image.open(tmp_path / "back" / "000012.png"))
    np.testing.assert_array_equal(again, np.asarray(Image.open(tmp_path / "out" / "f11.png")))


@pytest.mark.parametrize(
    ("codec", "format_", "decoder", "name"),
    [
        ("prores_ks", "yuva444p10le", None, "c.mov"),
        ("libvpx-vp9", "yuva420p", "libvpx-vp9", "c.webm"),
        ("png", "rgba", None, "c.mov"),
    ],
)
def test_alpha_is_the_mask(tmp_path, codec, format_, decoder, name):
    color = np.full((HEIGHT, WIDTH, 3), (90, 120, 150), np.uint8)
    frames = [
        av.VideoFrame.from_ndarray(np.dstack([color, cover]), "rgba").reformat(
            format=format_, dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        for cover in covers()
    ]
    options = {"crf": "4", "b": "0"} if "vpx" in codec else {}
    tags = (1, 1, 1, 1) if format_ != "rgba" else (0, 1, 13, 2)
    clip = write_clip(tmp_path / name, frames, Kind(codec, format_, options, colors=tags))
    if "vpx" in codec:  # its writer does not say so by itself
        with av.open(str(clip)) as container:
            assert container.streams.video[0].metadata.get("alpha_mode") == "1"
    after = run(clip, None, tmp_path / "o.mkv", codec="ffv1")
    for old, new, cover in zip(decoded(clip, decoder), after, covers(), strict=True):
        assert not new.format.components[-1].is_alpha
        change = rgb_in(new) - rgb_in(old)
        assert np.abs(change[cover == 0]).mean() < 1.5
        assert np.abs(change[cover == 255].mean(0) - [40, 20, -30]).max() < 4


def test_masks_of_other_sizes_and_lengths(tmp_path, clip, warnings):
    large = [circle(2 * number, (2 * HEIGHT, 2 * WIDTH)) for number in range(5)]
    mask = mask_clip(tmp_path / "m.mkv", large)
    assert len(run(clip, mask, tmp_path / "o.mkv")) == 5
    assert f"{mask}: ends after 5 frames, before {clip}" in warnings()
    mask = mask_clip(tmp_path / "m2.mkv", covers(11))
    check_background(decoded(clip), run(clip, mask, tmp_path / "o2.mkv"), covers())
    assert f"{mask}: has more frames than {clip}" in warnings()


def test_masks_that_are_compressed_and_black_on_the_foreground(tmp_path, clip):
    inverse = mask_clip(tmp_path / "m.mp4", [255 - cover for cover in covers()], "libx264")
    after = run(clip, inverse, tmp_path / "o.mkv", invert_masks="auto")
    for old, new, cover in zip(decoded(clip), after, covers(), strict=True):
        far = cv2.dilate(cover, np.ones((9, 9), np.uint8)) == 0  # compression reaches some pixels
        np.testing.assert_array_equal(planes_in(old)[0][far], planes_in(new)[0][far])


def test_masks_of_labels_of_which_some_frames_have_none(tmp_path, clip):
    labels = [np.where(cover > 0, 7, 3).astype(np.uint8) for cover in covers()]
    labels[3][:] = 3
    mask = mask_clip(tmp_path / "m.mkv", labels)
    after = run(clip, mask, tmp_path / "o.mkv", mask_values=((7,),))
    for old, new, label in zip(decoded(clip), after, labels, strict=True):
        changed = planes_in(old)[0] != planes_in(new)[0]
        assert not changed[label == 3].any()
        assert label.max() == 3 or changed[label == 7].mean() > 0.9


def check_refused(folder: Path, message: str, *arguments: Path | None, **settings: Any) -> None:
    """One line says what is wrong, and the folder is as it was."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=message) as caught:
        run(*arguments, **settings)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("output", "settings", "message"),
    [
        ("there.mkv", {}, "there.mkv: exists"),
        ("c.mkv", {}, "c.mkv: is the clip"),
        ("m.mkv", {}, "m.mkv: is the mask"),
        ("o.avi", {}, r"'\.avi'.*\.mp4"),
        ("o.mkv", {"codec": "theora"}, "codec theora: .*h264"),
        ("o.webm", {"codec": "prores"}, "o.webm: .*prores"),
        ("o.mkv", {"codec": "h264"}, "95 x 63.* h264 .*yuv420p"),
        ("o.mkv", {"max_pixels": 5000}, r"95 x 63 pixels: .*0\.005"),
        ("o.mkv", {"codec": "ffv1", "quality": 5}, "quality 5: ffv1"),
        ("out", {"codec": "ffv1"}, "out: is a folder.* codec ffv1"),
        ("o.mkv", {"ending": ".png"}, "o.mkv: .* format png"),
        ("o.mkv", {"steadiness": Steadiness(every=0)}, "every 0"),
    ],
)
def test_outputs_and_settings_that_are_refused(tmp_path, output, settings, message):
    size = (63, 95)
    clip = write_clip(tmp_path / "c.mkv", made_frames("yuv420p", 2, size))
    mask = mask_clip(tmp_path / "m.mkv", [circle(size=size)] * 2)
    (tmp_path / "there.mkv").write_bytes(b"there")
    check_refused(tmp_path, message, clip, mask, tmp_path / output, **settings)


@pytest.mark.parametrize(
    ("cover", "message"),
    [
        (circle(size=(64, 64)), "64 x 64, the clip 96 x 64"),
        (np.zeros((HEIGHT, WIDTH), np.uint8), "no foreground in any of 8 frames"),
        (np.full((HEIGHT, WIDTH), 255, np.uint8), "background in none of 8 frames"),
        (None, "c.mkv: no mask, and no alpha channel"),
    ],
)
def test_masks_that_are_refused(tmp_path, clip, cover, message):
    mask = None if cover is None else mask_clip(tmp_path / "m.mkv", [cover] * COUNT)
    check_refused(tmp_path, message, clip, mask, tmp_path / "o.mkv")


def only_sound(path: Path) -> None:
    with av.open(str(path), "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.int16), "s16", "stereo")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))


def no_frame(path: Path) -> None:
    data = write_clip(path, made_frames("yuv420p", 1)).read_bytes()
    path.write_bytes(data[: data.index(b"\xa3", 500)])


def hdr(path: Path) -> None:
    options = {"x265-params": "log-level=none"}
    kind = Kind("libx265", "yuv420p10le", options, colors=(9, 9, 16, 1))
    write_clip(path, made_frames("yuv420p10le", 2), kind)


def pictures_of_two_sizes(path: Path) -> None:
    Image.new("RGB", (48, 64)).save(pictures(path, 2) / "f1.png")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (only_sound, "no video in it, only audio"),
        (no_frame, "no frame in it"),
        (lambda path: path.write_bytes(b"no clip"), "cannot be read as a video"),
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (lambda path: None, "no such file"),
        (hdr, "HDR.*PQ"),
        (lambda path: path.mkdir(), "no picture"),
        (pictures_of_two_sizes, "f1.png: is 48 x 64, .* 96 x 64"),
    ],
)
def test_clips_that_are_refused(tmp_path, mask, make, message):
    make(tmp_path / "in.mkv")
    check_refused(tmp_path, message, tmp_path / "in.mkv", mask, tmp_path / "o.mkv")


def test_a_clip_that_ends_early(tmp_path, warnings):
    """A file whose index comes first, cut off in the middle: what is there is written, and told."""
    kind = Kind("libx264", options={"g": "1", "crf": "10"})
    whole = write_clip(tmp_path / "w.mp4", made_frames("yuv420p", 30), kind)
    clip = tmp_path / "c.mp4"
    with (
        av.open(str(whole)) as source,
        av.open(str(clip), "w", options={"movflags": "+faststart"}) as container,
    ):
        stream = container.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    mask = tmp_path / "m.png"
    Image.fromarray(circle()).save(mask)
    after = run(clip, mask, tmp_path / "o.mp4")
    assert 10 < len(after) < 20
    assert f"{clip}: ends early, after {len(after)} frames of 30" in warnings()


@pytest.mark.parametrize("name", ["o.mkv", "o.mp4", "out"])
def test_a_full_disk(tmp_path, name):
    """As a limit on the size of files does it."""
    clip = write_clip(tmp_path / "c.mkv", made_frames("yuv420p", 40))
    mask = mask_clip(tmp_path / "m.mkv", covers(40))
    most, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = 9000 if name == "out" else 40_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(InputError, match=r"cannot be written .*File too large"):
            run(clip, mask, tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    assert {path.name for path in tmp_path.iterdir()} == {"c.mkv", "m.mkv"}


def test_the_full_range_of_motion_jpeg(tmp_path, mask):
    kind = Kind("mjpeg", "yuvj420p", colors=(5, 2, 2, 2))
    clip = write_clip(tmp_path / "c.mkv", made_frames("yuvj420p"), kind)
    after = run(clip, mask, tmp_path / "o.mkv", codec="ffv1")
    for old, new, cover in zip(decoded(clip), after, covers(), strict=True):
        assert (new.format.name, new.color_range) == ("yuv420p", 2)
        one, other = (planes_in(frame)[0] for frame in (old, new))
        np.testing.assert_array_equal(one[cover == 0], other[cover == 0])
        change = (other.astype(int) - one)[cover == 255].mean()
        assert abs(change - (0.299 * 40 + 0.587 * 20 - 0.114 * 30)) < 1
    assert all(frame.color_range == 2 for frame in run(clip, mask, tmp_path / "o.mp4"))


@pytest.mark.parametrize(
    ("source", "name", "expected"),
    [
        ("libx264", "o.mp4", "h264"),
        ("libx265", "o.mp4", "hevc"),
        ("mpeg2video", "o.mp4", "h264"),
        ("ffv1", "o.mp4", "ffv1"),
        ("libx264", "o.webm", "vp9"),
    ],
)
def test_the_clips_own_codec_or_the_containers(tmp_path, mask, source, name, expected):
    options = {"x265-params": "log-level=none"} if source == "libx265" else {}
    kind = Kind(source, options=options)
    clip = write_clip(tmp_path / "c.mkv", made_frames("yuv420p"), kind)
    assert {frame.format.name for frame in run(clip, mask, tmp_path / name)} == {"yuv420p"}
    with av.open(str(tmp_path / name)) as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == expected


def test_quality(tmp_path, clip, mask):
    sizes = {}
    output = tmp_path / "o.mp4"
    for quality in (20, 64, 100):
        after = run(clip, mask, output, codec="h264", quality=quality, overwrite=True)
        sizes[quality] = output.stat().st_size
    assert sizes[20] < sizes[64] < sizes[100]
    check_background(decoded(clip), after, covers())  # 100 loses nothing


def test_every_and_smoothing_reach_the_network(tmp_path):
    planes = random_planes("yuv420p", RNG)
    clip = write_clip(tmp_path / "c.mkv", [frame_of(planes, "yuv420p") for _ in range(20)])
    mask = mask_clip(tmp_path / "m.mkv", covers(20))
    for every, expected in ((1, 24), (4, 6), (8, 3)):  # whole batches of 8, 2 and 1
        harmonizer = Painted()
        settings = VideoSettings(steadiness=Steadiness(every=every), overwrite=True)
        harmonize_clip(harmonizer, clip, mask, tmp_path / "o.mkv", settings)
        assert len(harmonizer.seen) == expected
        check_background(decoded(clip), decoded(tmp_path / "o.mkv"), covers(20))
