"""Resizing and sampling of images: the grids of points that coremltools documents, linear between them."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from edgewright.runtimes.mil.operators import OPERATION
from edgewright.runtimes.mil.parameters import from_numpy, ints

Tensor = torch.Tensor
Points = NDArray[np.float64]


def grid(mode: str, first: float, last: float, count: int) -> Points:
    """`count` points between two ends, as `sampling_mode` wants them."""
    steps = np.arange(count)
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        if count == 1:
            return np.array([(first + last) / 2])
        points = first + steps * (last - first) / (count - 1)
    elif mode == "DEFAULT":
        points = first + steps * (last - first + 1) / count
    elif mode == "OFFSET_CORNERS":
        points = first + (steps + 0.5) * max(1.0, last - first) / count
    else:
        points = first + (steps + 0.5) * (last - first + 1) / count - 0.5
    return np.asarray(np.clip(points, min(first, last), max(first, last)))


def linear(x: Tensor, points: Points, axis: int) -> Tensor:
    """Between the two values around each point; the ends beyond them."""
    points = np.clip(points, 0, x.shape[axis] - 1)
    low = np.floor(points).astype(np.int64)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    part = torch.from_numpy((points - low).astype(np.float32)).reshape([-1] + [1] * (x.ndim - axis % x.ndim - 1))
    below, above = (x.index_select(axis, torch.from_numpy(at)) for at in (low, high))
    return below + (above - below) * part


def nearest(x: Tensor, mode: str, count: int, axis: int) -> Tensor:
    """The value nearest to each point. Raises ValueError where two are: which one Core ML takes is not documented."""
    points = grid(mode, 0, x.shape[axis] - 1, count)
    if (np.abs(points % 1 - 0.5) < 1e-6).any():
        raise ValueError(f"NEAREST_NEIGHBOR, {mode}: from {x.shape[axis]} to {count} points lie between two values")
    return x.index_select(axis, torch.from_numpy(np.rint(points).astype(np.int64)))


def before(x: Tensor, count: int, axis: int) -> Tensor:
    """The value at or before each point of the grid."""
    return x.index_select(axis, torch.arange(count) * x.shape[axis] // count)


@OPERATION("upsample_nearest_neighbor")
def upsample_nearest_neighbor(x: Tensor, scale_factor_height: Any = 1, scale_factor_width: Any = 1) -> Tensor:
    for axis, factor in ((-2, scale_factor_height), (-1, scale_factor_width)):
        x = before(x, _scaled(x, axis, factor), axis)
    return x


@OPERATION("resize_nearest_neighbor")
def resize_nearest_neighbor(x: Tensor, target_size_height: Any, target_size_width: Any) -> Tensor:
    x = before(x, int(target_size_height), -2)
    return before(x, int(target_size_width), -1)


@OPERATION("upsample_bilinear")
def upsample_bilinear(
    x: Tensor,
    scale_factor_height: Any = 1,
    scale_factor_width: Any = 1,
    align_corners: Any = True,
    half_pixel_centers: Any = None,
) -> Tensor:
    """Without `half_pixel_centers` (iOS 15) it is the opposite of `align_corners`."""
    centred = not align_corners if half_pixel_centers is None else bool(half_pixel_centers)
    mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS" if centred else "DEFAULT"
    if align_corners and centred:
        raise ValueError("align_corners and half_pixel_centers exclude one another")
    for axis, factor in ((-2, scale_factor_height), (-1, scale_factor_width)):
        x = linear(x, grid(mode, 0, x.shape[axis] - 1, _scaled(x, axis, factor)), axis)
    return x


@OPERATION("resize_bilinear")
def resize_bilinear(
    x: Tensor, target_size_height: Any = 1, target_size_width: Any = 1, sampling_mode: str = "DEFAULT"
) -> Tensor:
    for axis, size in ((-2, int(target_size_height)), (-1, int(target_size_width))):
        x = linear(x, grid(sampling_mode, 0, x.shape[axis] - 1, size), axis)
    return x


@OPERATION("resize")
def resize(
    x: Tensor, shape: Any, resized_dims: Any, interpolation_mode: str = "LINEAR", sampling_mode: str = "DEFAULT"
) -> Tensor:
    """The last `resized_dims` axes; a length of 0 stays."""
    kind = x.dtype
    x = x.float()
    for axis, size in zip(range(-int(resized_dims), 0), ints(shape)[-int(resized_dims) :], strict=True):
        count = size or x.shape[axis]
        if interpolation_mode == "NEAREST_NEIGHBOR":
            x = nearest(x, sampling_mode, count, axis)
        else:
            x = linear(x, grid(sampling_mode, 0, x.shape[axis] - 1, count), axis)
    return x.to(kind)


@OPERATION("crop_resize")
def crop_resize(
    x: Tensor,
    roi: Tensor | None = None,
    boxes: Tensor | None = None,
    box_indices: Tensor | None = None,
    target_height: Any = 1,
    target_width: Any = 1,
    normalized_coordinates: Any = False,
    spatial_scale: Any = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: Any = 0.0,
) -> Tensor:
    """iOS 15 and 16: `roi` [N, 1, 4 or 5, 1, 1] → [N, images, C, h, w]; iOS 17: `boxes` [N, 4] → [N, C, h, w]."""
    sizes = (int(target_height), int(target_width))
    if roi is not None:
        rows = roi.reshape(roi.shape[0], -1).numpy()
        images = [[int(row[0])] if len(row) == 5 else list(range(x.shape[0])) for row in rows]
        corners = rows[:, -4:]
    else:
        assert boxes is not None
        corners = boxes.float().numpy()
        images = [[n] for n in (ints(box_indices) if box_indices is not None else range(len(corners)))]
    scale = np.array([x.shape[2] - 1, x.shape[3] - 1]) if normalized_coordinates else np.ones(2)
    edges = _edges(corners, box_coordinate_mode) * (scale * float(spatial_scale))[None, :, None]
    found = torch.stack(
        [
            torch.stack([_crop(x[n], edge, sizes, sampling_mode, float(pad_value)) for n in chosen])
            for edge, chosen in zip(edges, images, strict=True)
        ]
    )
    return found if roi is not None else found[:, 0]


@OPERATION("affine")
def affine(
    x: Tensor,
    transform_matrix: Tensor,
    output_height: Any,
    output_width: Any,
    sampling_mode: str,
    padding_mode: str,
    padding_value: Any,
    coordinates_mode: str,
    align_corners: Any,
) -> Tensor:
    matrix = transform_matrix.reshape(-1, 2, 3).expand(x.shape[0], 2, 3)
    size = [x.shape[0], x.shape[1], int(output_height), int(output_width)]
    points = F.affine_grid(matrix, size, align_corners=bool(align_corners))
    return resample(x, points, sampling_mode, padding_mode, padding_value, coordinates_mode, align_corners)


@OPERATION("resample")
def resample(
    x: Tensor,
    coordinates: Tensor,
    sampling_mode: str,
    padding_mode: str,
    padding_value: Any,
    coordinates_mode: str,
    align_corners: Any,
) -> Tensor:
    """`coordinates`: [N, h, w, 2], each (x, y)."""
    lengths = torch.tensor([x.shape[3], x.shape[2]], dtype=torch.float32)
    points = _in_pixels(coordinates.float(), lengths, coordinates_mode.lower(), aligned=bool(align_corners))
    shift = float(padding_value) if padding_mode == "constant" else 0.0
    aligned = padding_mode == "reflection"  # torch reflects about the centres of the last pixels then, else their edges
    normal = 2 * points / (lengths - 1).clamp(min=1) - 1 if aligned else (2 * points + 1) / lengths - 1
    padding = {"constant": "zeros", "border": "border", "reflection": "reflection", "symmetric": "reflection"}
    found = F.grid_sample(x - shift, normal, sampling_mode.lower(), padding[padding_mode.lower()], aligned)
    return found + shift


def _scaled(x: Tensor, axis: int, factor: Any) -> int:
    return int(np.floor(np.float32(x.shape[axis]) * np.float32(factor)))


def _edges(corners: Any, mode: str) -> Points:
    """[N, (h, w), (first, last)]"""
    pairs = np.asarray(corners, np.float64).reshape(-1, 2, 2)  # [N, first or centre | last or size, two axes]
    if mode.endswith("WIDTH_FIRST"):
        pairs = pairs[..., ::-1]
    if mode.startswith("CENTER_SIZE"):
        centre, size = pairs[:, 0], pairs[:, 1]
        pairs = np.stack([centre - size / 2, centre + size / 2], 1)
    return np.asarray(pairs.transpose(0, 2, 1))


def _crop(image: Tensor, edge: Points, sizes: tuple[int, int], mode: str, pad_value: float) -> Tensor:
    inside = torch.ones(())
    for axis, (first, last), size in zip((-2, -1), edge, sizes, strict=True):
        points = grid(mode, first, last, size)
        within = from_numpy((points >= 0) & (points <= image.shape[axis] - 1))
        inside = inside * within.reshape([-1] + [1] * (-axis - 1))
        image = linear(image, points, axis)
    return torch.where(inside > 0, image, torch.tensor(pad_value))


def _in_pixels(points: Tensor, lengths: Tensor, mode: str, *, aligned: bool) -> Tensor:
    if mode == "unnormalized":
        return points
    part = points if mode == "normalized_zero_to_one" else (points + 1) / 2
    return part * (lengths - 1) if aligned else part * lengths - 0.5
