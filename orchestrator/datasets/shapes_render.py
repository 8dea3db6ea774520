"""Draws a scene of the embedded world as a 64 px picture, in numpy only, at twice the size and then averaged down.

A pure function of the scene: the background is a window of a wide texture made once per process from a fixed seed,
over it come clutter, the neighbour, the object with its shadow and part, an occluder, a gradient of light, and sensor
noise. Reads and writes no file; knows nothing of classes, splits or captions.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from orchestrator.datasets.shapes_grammar import PLACES, Scene, key_of

Array = NDArray[np.float32]
SIZE = 64
_S = 2 * SIZE  # the canvas is drawn at twice the size
_TILE = 384

_RADIUS = {"small": 10.5, "medium": 13.5, "large": 17.0}  # half the object's width, in pixels of the final picture
_RGB = {
    "red": (0.82, 0.10, 0.10),
    "orange": (0.96, 0.50, 0.08),
    "yellow": (0.95, 0.87, 0.15),
    "green": (0.13, 0.62, 0.18),
    "blue": (0.12, 0.28, 0.85),
    "purple": (0.46, 0.13, 0.62),
    "pink": (0.97, 0.55, 0.74),
    "white": (0.95, 0.95, 0.94),
}
_GROUND = {
    "sand": ((0.80, 0.69, 0.48), 0.07),
    "grass": ((0.30, 0.44, 0.17), 0.11),
    "water": ((0.25, 0.47, 0.56), 0.08),
    "bricks": ((0.55, 0.33, 0.26), 0.06),
    "snow": ((0.83, 0.87, 0.92), 0.05),
    "night": ((0.10, 0.11, 0.19), 0.05),
}
_ROWS, _COLUMNS = (a.astype(np.float32) for a in np.mgrid[0:_S, 0:_S])


def _smooth_noise(rng: np.random.Generator, cells: int) -> Array:
    """Periodic noise [_TILE, _TILE] of unit deviation with features of about _TILE / cells pixels."""
    coarse = rng.standard_normal((cells, cells))
    at = np.arange(_TILE) * cells / _TILE
    low = at.astype(int)
    part = at - low
    part = part * part * (3 - 2 * part)
    rows = coarse[low] * (1 - part)[:, None] + coarse[(low + 1) % cells] * part[:, None]
    full = rows[:, low] * (1 - part) + rows[:, (low + 1) % cells] * part
    return (full / full.std()).astype(np.float32)


@lru_cache(maxsize=8)
def _ground(background: str) -> Array:
    """The wide texture [3, _TILE, _TILE] in 0..1 of one background; the same in every process."""
    rng = np.random.default_rng(key_of("ground", background))
    rgb, strength = _GROUND[background]
    tone = 0.5 * _smooth_noise(rng, 6) + 0.5 * _smooth_noise(rng, 24) + 0.5 * _smooth_noise(rng, 128)
    y, x = np.mgrid[0:_TILE, 0:_TILE].astype(np.float32)
    if background == "sand":
        tone += 0.7 * np.sin(y * (2 * np.pi / 24) + 1.5 * _smooth_noise(rng, 5))
    elif background == "grass":
        blades = _smooth_noise(rng, 192)
        tone += 0.5 * (blades + np.roll(blades, 2, 0) + np.roll(blades, 4, 0))
    elif background == "water":
        tone += 1.3 * np.sin(y * (2 * np.pi / 16) + 2.5 * _smooth_noise(rng, 8))
    elif background == "bricks":
        row = (y // 16).astype(int)
        mortar = ((y % 16) < 2) | (((x + 16 * (row % 2)) % 32) < 2)
        bricks = rng.standard_normal((_TILE // 16, _TILE // 32 + 1))
        tone += 1.2 * bricks[row, ((x + 16 * (row % 2)) // 32).astype(int) % bricks.shape[1]]
        tone = np.where(mortar, 4.0 + 0.5 * tone, tone)
    elif background == "night":
        tone += 7.0 * (rng.random((_TILE // 4, _TILE // 4)) > 0.985).repeat(4, 0).repeat(4, 1)
    hue = np.stack([_smooth_noise(rng, 10) for _ in range(3)]) * 0.025
    return np.clip(np.array(rgb, np.float32)[:, None, None] + strength * tone + hue, 0, 1).astype(np.float32)


class _Patch:
    """A square window of the canvas around (cx, cy) with coordinates u, v in units of `radius`, rotated by `angle`."""

    def __init__(self, cx: float, cy: float, radius: float, reach: float, angle: float, squeeze: float = 1.0) -> None:
        half = radius * reach
        top, bottom = max(int(cy - half), 0), min(int(cy + half) + 2, _S)
        left, right = max(int(cx - half), 0), min(int(cx + half) + 2, _S)
        self.window = (slice(top, max(bottom, top)), slice(left, max(right, left)))
        x, y = _COLUMNS[self.window] - np.float32(cx), _ROWS[self.window] - np.float32(cy)
        c, s = np.float32(np.cos(angle) / radius), np.float32(np.sin(angle) / radius)
        self.u, self.v = c * x + s * y, (c * y - s * x) * np.float32(1 / squeeze)
        self.sharp = np.float32(radius)

    def mask(self, field: Array) -> Array:
        """Coverage 0..1 of the region where the signed field (in units of the radius) is negative."""
        return np.clip(np.float32(0.5) - field * self.sharp, 0, 1)


def _blend(canvas: Array, patch: _Patch, mask: Array, colour: Array) -> None:
    """Paint `colour` ([3] or [3, h, w]) over the window, in place, by coverage."""
    region = canvas[(slice(None), *patch.window)]
    region += mask * ((colour[:, None, None] if colour.ndim == 1 else colour) - region)


def _shade(canvas: Array, patch: _Patch, mask: Array, strength: float) -> None:
    region = canvas[(slice(None), *patch.window)]
    region *= np.float32(1) - np.float32(strength) * mask


def _shape_field(shape: str, u: Array, v: Array) -> Array:
    """Signed field of a shape of about unit radius: negative inside, about the distance to the edge."""
    if shape == "square":
        return np.maximum(np.abs(u), np.abs(v)) - np.float32(0.78)
    if shape == "triangle":
        return np.maximum(np.abs(u) * np.float32(0.87) - np.float32(0.5) * (v - 0.18), v - 0.18) - np.float32(0.56)
    if shape == "cross":
        a, b = np.abs(u), np.abs(v)
        return np.maximum(np.minimum(a, b) - np.float32(0.31), np.maximum(a, b) - np.float32(0.95))
    if shape == "heart":
        a, w, h = np.abs(u), v + np.float32(0.02), 0.78
        low = (a + np.abs(w) - np.float32(h)) * np.float32(0.71)
        return np.minimum(low, np.sqrt((a - h / 2) ** 2 + (w + h / 2) ** 2) - np.float32(0.707 * h))
    r = np.sqrt(u * u + v * v)
    if shape == "disc":
        return r - np.float32(0.86)
    if shape == "ring":
        return np.abs(r - np.float32(0.68)) - np.float32(0.27)
    if shape == "crescent":
        return np.maximum(r - np.float32(0.95), np.float32(0.64) - np.sqrt((u - 0.5) ** 2 + (v + 0.12) ** 2))
    fold = np.float32(2 * np.pi / 5)  # star: one tenth of it is a straight edge from the tip to the notch
    angle = np.abs(np.mod(np.arctan2(u, -v) + fold / 2, fold) - fold / 2)
    tip, notch = np.array([1.08, 0.0]), 0.50 * np.array([np.cos(np.pi / 5), np.sin(np.pi / 5)])
    along = notch - tip
    normal = np.array([-along[1], along[0]]) / np.hypot(*along)
    normal = normal if normal @ tip > 0 else -normal
    edge = r * np.cos(angle) * np.float32(normal[0]) + r * np.sin(angle) * np.float32(normal[1])
    return np.asarray(edge - np.float32(normal @ tip), np.float32)


def _texture(texture: str, u: Array, v: Array, rng: np.random.Generator) -> Array | None:
    """Weight 0..1 of the second tone, or None for a plain object."""
    period, shift = rng.uniform(0.42, 0.56), rng.uniform(0, 1, 2)
    if texture == "plain":
        return None
    if texture == "striped":
        tilt = rng.uniform(-0.5, 0.5)
        wave = np.sin((v + tilt * u + shift[0]) * np.float32(2 * np.pi / period))
        return np.clip(0.5 + 2.5 * wave, 0, 1)
    if texture == "checked":
        wave = np.sin((u + shift[0]) * np.float32(np.pi / period * 1.35)) * np.sin(
            (v + shift[1]) * np.float32(np.pi / period * 1.35)
        )
        return np.clip(0.5 + 5.0 * wave, 0, 1)
    row = np.floor(v / period + shift[1])
    du = np.mod(u / period + shift[0] + 0.5 * row, 1) - 0.5
    dv = np.mod(v / period + shift[1], 1) - 0.5
    return np.clip((0.33 - np.sqrt(du * du + dv * dv)) * 8 + 0.5, 0, 1)


def _horns(p: _Patch) -> Array:
    a = np.abs(p.u)
    along = np.clip((-p.v - 0.35) / 0.95, 0, 1)
    return np.maximum(
        np.abs(a - (0.30 + 0.42 * along * along)) - 0.19 * (1 - along) - 0.02, np.maximum(p.v + 0.3, -p.v - 1.3)
    )


def _tail(p: _Patch, side: float) -> Array:
    along = p.v - 0.35
    return np.maximum(np.abs(p.u - side * 0.30 * np.sin(along * 4.2)) - 0.13, np.maximum(0.35 - p.v, p.v - 1.45))


def _object_rgb(colour: str, rng: np.random.Generator) -> tuple[Array, Array]:
    base = np.array(_RGB[colour], np.float32) + rng.normal(0, 0.03, 3).astype(np.float32)
    base = np.clip(base * np.float32(rng.uniform(0.85, 1.05)), 0.03, 1)
    darker = base * np.float32(rng.uniform(0.35, 0.5))
    lighter = base + (1 - base) * np.float32(rng.uniform(0.6, 0.75))
    return base, darker if colour in ("white", "yellow", "pink") or rng.random() < 0.6 else lighter


def _draw_object(canvas: Array, s: Scene, cx: float, cy: float, radius: float, rng: np.random.Generator) -> None:
    a = s.attributes
    p = _Patch(cx, cy, radius, 1.75, rng.normal(0, 0.28), rng.uniform(0.88, 1.12))
    field = _shape_field(a.shape, p.u, p.v)
    body = p.mask(field)
    base, second = _object_rgb(a.colour, rng)
    dark = np.array((0.12, 0.10, 0.10), np.float32) * np.float32(rng.uniform(0.3, 1.6))
    side = 1.0 if rng.random() < 0.5 else -1.0
    extra = p.mask(_horns(p)) if a.part == "horns" else p.mask(_tail(p, side)) if a.part == "tail" else None
    outline = body if extra is None else np.maximum(body, extra)
    dx, dy = int(rng.integers(-6, 7)), int(rng.integers(3, 8))
    _shade(canvas, p, np.roll(outline, (dy, dx), (0, 1)), rng.uniform(0.3, 0.6))
    if extra is not None:
        tone = np.array((0.86, 0.78, 0.60), np.float32) if rng.random() < 0.5 else dark * 1.5 + 0.1
        _blend(canvas, p, extra, tone if a.part == "horns" else base * np.float32(0.7))
    light = 1 + np.float32(rng.uniform(-0.22, 0.22)) * p.u + np.float32(rng.uniform(-0.25, 0.05)) * p.v
    weight = _texture(a.texture, p.u, p.v, rng)
    paint = base[:, None, None] if weight is None else base[:, None, None] + weight * (second - base)[:, None, None]
    _blend(canvas, p, body, paint * light)
    if a.part == "rim":
        _blend(canvas, p, p.mask(np.abs(field + 0.05) - 0.085), dark)
    elif a.part == "eyes":
        ex, ey = (-0.42, 0.0) if a.shape == "crescent" else (0.0, -0.1)
        du, dv = np.abs(p.u - ex) - 0.29, p.v - ey
        far = np.sqrt(du * du + dv * dv)
        _blend(canvas, p, p.mask(far - 0.25), np.array((0.97, 0.97, 0.95), np.float32))
        _blend(canvas, p, p.mask(far - 0.13), np.array((0.05, 0.05, 0.06), np.float32))


def _draw_neighbour(canvas: Array, kind: str, cx: float, cy: float, rng: np.random.Generator) -> None:
    p = _Patch(cx, cy, rng.uniform(11, 14), 1.2, rng.uniform(-0.6, 0.6))
    r = np.sqrt(p.u * p.u + p.v * p.v)
    if kind == "pebble":
        mask, tone = p.mask(np.sqrt(p.u * p.u + 2 * p.v * p.v) - 0.95), 0.55 - 0.2 * p.v
        rgb = (0.95, 0.95, 1.0)
    elif kind == "leaf":
        mask, tone = p.mask(np.abs(p.v) - 0.5 * (1 - p.u * p.u)), 1 - 0.5 * (np.abs(p.v) < 0.08)
        rgb = (0.42, 0.55, 0.12)
    elif kind == "shell":
        fan = np.arctan2(p.u, 0.9 - p.v)
        mask, tone = (
            p.mask(np.maximum(np.abs(fan) - 0.75, np.sqrt(p.u * p.u + (p.v - 0.9) ** 2) - 1.7)),
            0.85 + 0.18 * np.sin(fan * 22),
        )
        rgb = (1.0, 0.88, 0.76)
    else:
        mask, tone = p.mask(r - 0.75), 1 - 0.45 * (np.abs(r - 0.5) < 0.1)
        rgb = (0.83, 0.66, 0.22)
    _shade(canvas, p, np.roll(mask, 3, 0), 0.35)
    _blend(canvas, p, mask, (tone * np.array(rgb, np.float32)[:, None, None]).astype(np.float32))


def _draw_stick(canvas: Array, cx: float, cy: float, length: float, width: float, rng: np.random.Generator) -> None:
    """A twig, a blade or a stone in a dull colour: clutter behind the object, or an occluder before it."""
    p = _Patch(cx, cy, length, 1.1, rng.uniform(0, np.pi))
    field = np.maximum(np.abs(p.v + 0.15 * p.u * p.u) - width / length, np.abs(p.u) - 1)
    tone = rng.uniform(0.12, 0.75)
    rgb = np.clip(tone + rng.normal(0, 0.09, 3), 0, 1).astype(np.float32)
    _blend(canvas, p, p.mask(field), rgb[:, None, None] * (1 - np.float32(0.15 * length / width) * p.v))


def _centre(place: str, radius: float, rng: np.random.Generator) -> tuple[float, float]:
    """Where the object stands on the canvas (x, y); far enough inside for horns and tail to show."""
    near, low, high = _S / 2, 1.12 * radius + 4, _S - 1.12 * radius - 4
    edge = {"x": low if rng.random() < 0.5 else high, "top": low, "bottom": high}
    x, y = {
        "in the middle": (near, near),
        "at the top": (near, edge["top"]),
        "at the bottom": (near, edge["bottom"]),
        "at the side": (edge["x"], near),
        "in a corner": (edge["x"], edge["top"] if rng.random() < 0.5 else edge["bottom"]),
    }[place]
    return x + rng.uniform(-5, 5), y + rng.uniform(-5, 5)


def render(scene: Scene) -> NDArray[np.uint8]:
    """The picture of a scene, uint8 [64, 64, 3] RGB. Pure: the same scene gives the same bytes."""
    assert scene.place in PLACES
    rng = np.random.Generator(np.random.SFC64(scene.nuisance_seed))
    top, left = rng.integers(0, _TILE - _S, 2)
    canvas = _ground(scene.background)[:, top : top + _S, left : left + _S] * np.float32(rng.uniform(0.8, 1.15))
    for _ in range(int(rng.integers(2, 6))):
        x, y = rng.uniform(0, _S, 2)
        _draw_stick(canvas, x, y, rng.uniform(6, 20), rng.uniform(1.5, 7), rng)
    radius = 2 * _RADIUS[scene.size] * rng.uniform(0.92, 1.08)
    cx, cy = _centre(scene.place, radius, rng)
    towards = np.arctan2(_S / 2 - cy, _S / 2 - cx) + rng.uniform(-1.1, 1.1)
    if scene.place == "in the middle":
        towards = rng.uniform(-np.pi, np.pi)
    away = radius + 16
    _draw_neighbour(
        canvas,
        scene.neighbour,
        float(np.clip(cx + away * np.cos(towards), 12, _S - 12)),
        float(np.clip(cy + away * np.sin(towards), 12, _S - 12)),
        rng,
    )
    _draw_object(canvas, scene, cx, cy, radius, rng)
    if rng.random() < 0.6:
        side = rng.uniform(-np.pi, np.pi)
        reach = radius * rng.uniform(0.5, 1.0)
        _draw_stick(canvas, cx + reach * np.cos(side), cy + reach * np.sin(side), radius * 0.8, rng.uniform(2, 5), rng)
    lx, ly = rng.normal(0, 0.22, 2) / _S
    light = (
        np.float32(rng.uniform(0.8, 1.1))
        + np.float32(lx) * (_COLUMNS[::2, ::2] - _S / 2)
        + np.float32(ly) * (_ROWS[::2, ::2] - _S / 2)
    )
    rows = canvas[:, ::2] + canvas[:, 1::2]
    small = (rows[..., ::2] + rows[..., 1::2]) * (np.float32(0.25) * light)
    small *= rng.normal(1, 0.035, 3).astype(np.float32)[:, None, None]
    small += np.float32(rng.uniform(0.015, 0.05)) * rng.standard_normal(small.shape, dtype=np.float32)
    return np.ascontiguousarray((np.clip(small, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0))
