"""A plot of lines over time, as SVG text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

_WIDTH: Final = 720
_HEIGHT: Final = 260
_MARGIN: Final = 48
_COLOURS: Final = ("#1f6feb", "#1a7f37", "#bf3989", "#9a6700")


def plot(lines: Mapping[str, Sequence[tuple[float, float]]], *, x: str, y: str) -> str:
    """Each line has a name and its points. Both axes begin at 0, so that a small slope does not look like a large one."""
    right = max(at for points in lines.values() for at, _ in points)
    top = 1.2 * max(value for points in lines.values() for _, value in points)

    def place(at: float, value: float) -> str:
        across = _MARGIN + (_WIDTH - 2 * _MARGIN) * at / right
        return f"{across:.1f},{_HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * value / top:.1f}"

    axis = f'<path d="M{_MARGIN},{_MARGIN / 2} V{_HEIGHT - _MARGIN} H{_WIDTH - _MARGIN}" fill="none" stroke="#57606a"/>'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        axis,
        f'<text x="{_MARGIN}" y="{_HEIGHT - _MARGIN + 18}" fill="#57606a">0</text>',
        f'<text x="{_WIDTH - _MARGIN}" y="{_HEIGHT - _MARGIN + 18}" text-anchor="end" fill="#57606a">{right:.0f} {x}</text>',
        f'<text x="{_MARGIN}" y="14" fill="#57606a">{y}, up to {top:.0f}</text>',
    ]
    for number, ((name, points), colour) in enumerate(zip(lines.items(), _COLOURS, strict=False)):
        path = " ".join(place(at, value) for at, value in points)
        parts += [
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>',
            f'<text x="{_WIDTH / 2 + 100 * (number - 1)}" y="{_HEIGHT - 8}" fill="{colour}">{name}: {points[-1][1]:.1f}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
