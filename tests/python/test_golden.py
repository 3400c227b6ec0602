"""The golden vectors, decoded by code that knows only PROTOCOL.md and legate.fbs."""

import pytest

from legate_frames import SCHEMA_FOLDER, ConnectionFailed, Decoder, Frame

FILES = sorted((SCHEMA_FOLDER / "golden").glob("*.txt"))


def parts(path):
    """What a file says of the frame, and its bytes."""
    head, hex_lines = path.read_text().split("bytes:\n")
    data = bytes(int(byte, 16) for line in hex_lines.splitlines() for byte in line.split(": ")[1].split())
    return head.split("\n", 2)[2], data


def describe(data):
    decoder = Decoder()
    try:
        frames = list(decoder.feed(data))
    except ConnectionFailed as failure:
        return f"error: {failure.code} frame {failure.frame_type}\n"
    return frames[0].describe() if frames else f"incomplete: {decoder.wanted} bytes wanted\n"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_decodes_to_what_the_file_says(path):
    expected, data = parts(path)
    assert describe(data) == expected


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_encodes_to_an_equal_frame(path):
    expected, data = parts(path)
    if not expected.startswith("frame: ") or path.stem == "unknown-type":
        return
    frame = next(Decoder().feed(data))
    again = next(Decoder().feed(frame.encode()))
    again.meta_words = frame.meta_words  # the layout is the builder's
    assert again.describe() == expected


def test_frames_are_cut_out_of_a_stream_byte_by_byte():
    expected, stream = [], b""
    for path in FILES:
        says, data = parts(path)
        if says.startswith("frame: "):
            expected.append(says)
            stream += data
    decoder = Decoder()
    frames = [frame for byte in stream for frame in decoder.feed(bytes([byte]))]
    assert [frame.describe() for frame in frames] == expected


def test_an_encoder_need_not_be_the_projects():
    frame = Frame("START", 3, meta={"method": "/a.B/C", "metadata": [{"key": "k-bin", "value": b"\0"}]})
    decoded = next(Decoder().feed(frame.encode()))
    assert decoded.meta["method"] == "/a.B/C"
    assert decoded.meta["metadata"] == [{"key": "k-bin", "value": b"\0"}]
