"""RFC 6381 names of the codecs in a rendition, as a master playlist states them.

Sources: ISO/IEC 14496-15 annex E (avc1, hvc1), RFC 6381 3.3 (mp4a), H.264 7.3.2.1, H.265 7.3.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from podium.testing.gateway.errors import VerificationFailed

if TYPE_CHECKING:
    from av.stream import Stream

_AUDIO = {"aac": "mp4a.40.2", "mp3": "mp4a.40.34", "ac3": "ac-3", "eac3": "ec-3", "opus": "opus"}
_AVC_SPS = 7
_HEVC_SPS = 33


def codec_string(stream: Stream) -> str:
    """Name a stream's codec with its profile and level.

    Raises:
        VerificationFailed: the stream declares no parameter set to read them from.
    """
    codec = stream.codec_context
    name = codec.name
    extradata = codec.extradata or b""
    if name == "h264":
        return "avc1." + _avc_parameters(extradata).hex()
    if name == "hevc":
        return _hevc(extradata)
    return _AUDIO.get(name, name)


def _avc_parameters(extradata: bytes) -> bytes:
    """Profile, constraints and level: from an ``avcC`` box, or from the first SPS."""
    if extradata[:1] == b"\x01" and len(extradata) > 4:
        return extradata[1:4]
    for unit in _units(extradata):
        if unit[0] & 0x1F == _AVC_SPS:
            return unit[1:4]
    raise VerificationFailed("an H.264 rendition carries no parameter set", drops_session=True)


def _hevc(extradata: bytes) -> str:
    """Name from the twelve bytes of ``profile_tier_level``."""
    if extradata[:1] == b"\x01" and len(extradata) > 13:
        return _hevc_name(extradata[1:13])
    for unit in _units(extradata):
        if unit[0] >> 1 & 0x3F == _HEVC_SPS:
            return _hevc_name(unit[3:15])
    raise VerificationFailed("an HEVC rendition carries no parameter set", drops_session=True)


def _hevc_name(level: bytes) -> str:
    space = ("", "A", "B", "C")[level[0] >> 6]
    tier = "H" if level[0] & 0x20 else "L"
    flags = int(f"{int.from_bytes(level[1:5], 'big'):032b}"[::-1], 2)
    constraints = level[5:11].rstrip(b"\0")
    parts = ["hvc1", f"{space}{level[0] & 0x1F}", f"{flags:X}", f"{tier}{level[11]}"]
    return ".".join(parts + [f"{byte:X}" for byte in constraints])


def _units(extradata: bytes) -> list[bytes]:
    """Split Annex B data into its NAL units, without emulation prevention bytes."""
    pieces = extradata.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]
    return [piece.replace(b"\0\0\3", b"\0\0") for piece in pieces if piece]
