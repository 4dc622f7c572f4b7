"""The console's colours: who sees less well can read it, in the light and in the dark."""

import re
from pathlib import Path

import pytest

CSS = Path(__file__).parents[3] / "services" / "dispatcher" / "console" / "assets" / "console.css"
TEXTS = ("text", "soft", "accent", "good", "bad", "warn", "calm")
GROUNDS = ("ground", "card")
VARIABLE = re.compile(r"--(\w[\w-]*): (#[0-9a-f]{6});")


def colours(scheme: str) -> dict[str, str]:
    light, dark = re.findall(r":root \{(.*?)\}", CSS.read_text(encoding="utf-8"), re.DOTALL)
    return dict(VARIABLE.findall(light if scheme == "light" else dark))


def luminance(colour: str) -> float:
    """As WCAG 2 has it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(scheme: str) -> None:
    of = colours(scheme)
    pairs = [(text, ground) for text in TEXTS for ground in GROUNDS]
    pairs += [("on-accent", "accent"), ("card", "bad"), ("text", "bad-tint"), ("bad", "bad-tint"), ("text", "tint")]

    assert {
        pair: round(contrast(of[pair[0]], of[pair[1]]), 2) for pair in pairs if contrast(of[pair[0]], of[pair[1]]) < 4.5
    } == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_edges_of_controls_and_parts_of_a_bar_stand_out(scheme: str) -> None:
    of = colours(scheme)
    pairs = [("edge", ground) for ground in GROUNDS] + [(part, "track") for part in ("good", "bad", "edge")]

    assert [pair for pair in pairs if contrast(of[pair[0]], of[pair[1]]) < 3] == []
