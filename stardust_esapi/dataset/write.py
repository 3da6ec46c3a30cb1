"""Write one case's files: NPZ, NIfTI, picture, sidecar. The same case gives the same bytes.

Each file bears its name only when it is whole (:mod:`stardust_esapi.files`).
"""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from zlib_ng import zlib_ng

from stardust_esapi.dataset.labels import (
    BACKGROUND,
    GTV_LABEL,
    TARGET_LABEL,
    Labelled,
)
from stardust_esapi.dicom.read_series import Stack
from stardust_esapi.errors import CaseError
from stardust_esapi.files import atomic_write, whole_file
from stardust_esapi.geometry import FloatArray, ImageGeometry

# The fastest: noise hardly shrinks more at any other level, and labels shrink to nothing at all.
_COMPRESSION = 1

_PICTURE_PIXELS = 256
# Okabe and Ito's palette, as in the report of the export.
_OUTLINES = {TARGET_LABEL: (86, 180, 233), GTV_LABEL: (230, 159, 0)}


def direction(geometry: ImageGeometry) -> FloatArray:
    """The axes as SimpleITK's GetDirection gives them: (3, 3) row by row, axes in columns."""
    axes = [geometry.x_direction, geometry.y_direction, geometry.z_direction]
    return np.array(axes).T.reshape(-1)


def write_npz(
    path: Path, labelled: Labelled, stack: Stack, dose: NDArray[np.float32] | None = None
) -> None:
    """Write what MedSAM2 trains on.

    ``imgs`` and ``gts`` uint8 (z, y, x); ``spacing`` and ``origin`` (x, y, z), mm; ``direction``
    9 numbers; ``label_names``: the name of each label, the background's first. Where it is given,
    ``dose`` float32 (z, y, x), Gy.

    Raises:
        OSError: The file system refuses.
    """
    names = labelled.names
    listed = [BACKGROUND] + [names.get(value, "") for value in range(1, max(names, default=0) + 1)]
    arrays: dict[str, NDArray[Any]] = {
        "imgs": labelled.imgs,
        "gts": labelled.gts,
        "spacing": np.array(stack.geometry.spacing),
        "origin": np.array(stack.geometry.origin),
        "direction": direction(stack.geometry),
        "label_names": np.array(listed),
    }
    if dose is not None:
        arrays["dose"] = dose
    # As np.savez_compressed, which offers no choice. Members opened by name bear the date 1980.
    with (
        whole_file(path) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_COMPRESSION) as archive,
    ):
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                # zipfile offers no strategy. Were this attribute to go, files would be a little
                # larger and slower to write, and as right.
                cast(Any, member)._compressor = _compressor()
                np.lib.format.write_array(member, array, allow_pickle=False)


def _compressor() -> Any:
    """Raw deflate that looks for runs alone: what images and labels have.

    zlib's own level 1 takes 1.5 times as long for a whole conversion, with runs alone 1.4 times.
    """
    return zlib_ng.compressobj(
        _COMPRESSION, zlib_ng.DEFLATED, -zlib_ng.MAX_WBITS, strategy=zlib_ng.Z_RLE
    )


def write_nifti(image: Path, labels: Path, gts: NDArray[np.uint8], stack: Stack) -> None:
    """Write the values after rescale (HU in CT), not windowed, and labels of them, as NIfTI-1.

    Raises:
        CaseError: The extra that NIfTI needs is not installed.
        OSError: The file system refuses.
    """
    try:
        nibabel: Any = import_module("nibabel")
    except ImportError:
        raise CaseError("NIfTI needs nibabel. Run: pip install stardust-esapi[nifti]") from None

    lps = np.eye(4)
    lps[:3, :3], lps[:3, 3] = stack.geometry.matrix, stack.geometry.origin
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps  # NIfTI's x and y point the other way
    for path, array in ((labels, gts), (image, _values(stack))):
        nifti = nibabel.Nifti1Image(array.transpose(2, 1, 0), affine)
        nifti.header.set_xyzt_units("mm")
        nifti.set_qform(affine, code=1)
        nifti.set_sform(affine, code=1)
        with (
            whole_file(path) as file,
            gzip.GzipFile("", "wb", _COMPRESSION, fileobj=file, mtime=0) as packed,
        ):
            nifti.to_stream(packed)


def _values(stack: Stack) -> NDArray[Any]:
    """All values after rescale; 16 bits where they hold them."""
    values = np.empty(stack.shape, dtype=np.int16)
    plane = np.empty(stack.shape[1:], dtype=np.float32)
    for number, into in enumerate(values):
        stack.plane(number, plane)
        into[...] = whole = plane.astype(np.int16)
        if not np.array_equal(whole, plane):
            break
    else:
        return values
    del values
    return stack.values()


def write_picture(path: Path, labelled: Labelled, stack: Stack) -> None:
    """Draw the GTV's middle slice with the outlines of GTV and target, as a small PNG.

    Without a GTV it is the target's, else the image's.

    Raises:
        OSError: The file system refuses.
    """
    from PIL import Image

    plane = _middle(labelled.gts)
    across, down, _ = stack.geometry.spacing
    rows, columns = labelled.gts.shape[1:]
    scale = _PICTURE_PIXELS / max(rows * down, columns * across)
    size = (max(1, round(columns * across * scale)), max(1, round(rows * down * scale)))
    grey = Image.fromarray(labelled.imgs[plane]).resize(size, Image.Resampling.BILINEAR)
    labels = np.asarray(Image.fromarray(labelled.gts[plane]).resize(size, Image.Resampling.NEAREST))
    picture = np.stack([np.asarray(grey)] * 3, axis=-1)
    for value, colour in _OUTLINES.items():
        # The GTV lies over the target: the target's outline goes around both.
        body = np.isin(labels, (GTV_LABEL, value))
        if (labels == value).any():
            picture[_rim(body)] = colour
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    atomic_write(path, buffer.getvalue())


def _middle(gts: NDArray[np.uint8]) -> int:
    for value in (GTV_LABEL, TARGET_LABEL):
        planes = [number for number, plane in enumerate(gts) if (plane == value).any()]
        if planes:
            return planes[len(planes) // 2]
    return len(gts) // 2


def _rim(body: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a body that have a neighbour outside it."""
    padded = np.pad(body, 1)
    kept = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    rim: NDArray[np.bool_] = body & ~kept
    return rim


def write_sidecar(path: Path, facts: Mapping[str, Any]) -> None:
    """Write the JSON beside a training file: sorted, UTF-8.

    Raises:
        OSError: The file system refuses.
    """
    text = json.dumps(facts, ensure_ascii=False, indent=1, sort_keys=True)
    atomic_write(path, text + "\n")


RULES: Mapping[str, Any] = {
    "labels": {"1": "gtv+", "2": "target+", "3 and on": "others, the largest first"},
    "priority": "gtv+ over target+ over smaller others over larger ones",
    "names": "<id>_pos+ shares a voxel with gtv+, <id>_neg+ does not",
    "ct": "clipped to -160 .. 240 HU (level 40, width 400), scaled to 0 .. 255, cut to uint8",
    "mr": "clipped to the 0.5 and 99.5 percentiles of what is neither zero nor padding, scaled the "
    "same; padding is 0",
    "mask": "a voxel is in when its centre is; a polygon in another of its slice is a hole, one "
    "that is there again counts once, those that cross are united",
    "transfer": "signed distance on the CT, interpolated linearly at the MR's voxel centres",
    "dose": "where asked for, Gy of the whole plan, interpolated linearly at voxel centres; 0 "
    "outside its grid",
    "direction": "as SimpleITK's GetDirection; patient space is LPS, mm",
}
"""How the files came about, for a reader of the sidecar."""
