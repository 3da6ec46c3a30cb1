from __future__ import annotations

import numpy as np
import pydicom
import pytest

from stardust_esapi.dicom.write_registration import is_rigid, write_registration
from stardust_esapi.errors import TransferError


def step_of(item: pydicom.Dataset) -> pydicom.Dataset:
    return item.MatrixRegistrationSequence[0].MatrixSequence[0]


def test_the_matrix_brings_source_points_into_the_registered_frame(make_registration, tmp_path):
    source = make_registration()
    path = write_registration(source, tmp_path)
    assert path.name == f"RE.{source.sop_instance_uid}.dcm"
    dataset = pydicom.dcmread(path)
    assert dataset.FrameOfReferenceUID == source.registered_for
    registered, moved = dataset.RegistrationSequence
    assert registered.FrameOfReferenceUID == source.registered_for
    np.testing.assert_array_equal(
        np.reshape(step_of(registered).FrameOfReferenceTransformationMatrix, (4, 4)), np.eye(4)
    )
    assert moved.FrameOfReferenceUID == source.source_for
    assert step_of(moved).FrameOfReferenceTransformationMatrixType == "RIGID"
    matrix = np.reshape(step_of(moved).FrameOfReferenceTransformationMatrix, (4, 4)).astype(float)
    # PS3.3 C.20.2.1.1: A = M B, with B in the item's frame and A in the registered one.
    np.testing.assert_allclose(
        matrix @ [100.0, 0.0, 0.0, 1.0], [10.5, 79.75, 1 / 3, 1.0], rtol=0, atol=1e-9
    )


def test_a_scaled_or_mirrored_matrix_is_not_called_rigid(make_registration, tmp_path):
    matrix = np.diag([1.01, 1.0, 1.0, 1.0])
    dataset = pydicom.dcmread(write_registration(make_registration(matrix=matrix), tmp_path))
    step = step_of(dataset.RegistrationSequence[1])
    assert step.FrameOfReferenceTransformationMatrixType == "AFFINE"
    assert not is_rigid(np.diag([-1.0, 1.0, 1.0, 1.0]))


def test_the_same_registration_gives_the_same_bytes(make_registration, tmp_path):
    first = write_registration(make_registration(), tmp_path).read_bytes()
    assert write_registration(make_registration(), tmp_path).read_bytes() == first


@pytest.mark.parametrize(
    "matrix",
    [
        np.eye(3),
        np.full((4, 4), np.nan),
        np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [10, 20, 30, 1]]),  # transposed
    ],
)
def test_a_matrix_that_is_not_affine_is_refused(matrix, make_registration, tmp_path):
    with pytest.raises(TransferError, match="not an affine transformation"):
        write_registration(make_registration(matrix=matrix), tmp_path)


def test_rounding_in_the_last_row_is_none_in_the_file(make_registration, tmp_path):
    matrix = np.eye(4)
    matrix[3] = 1e-17, -1e-17, 0, 1 + 1e-16
    dataset = pydicom.dcmread(write_registration(make_registration(matrix=matrix), tmp_path))
    written = step_of(dataset.RegistrationSequence[1]).FrameOfReferenceTransformationMatrix
    assert list(written[12:]) == [0, 0, 0, 1]
