from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from stardust_esapi.dicom.uids import derived_uid

PARTS = st.lists(st.text(st.characters(categories=["L", "N", "P"])), min_size=1)


@given(PARTS)
def test_a_derived_uid_is_a_uuid_under_2_25(parts):
    uid = UID(derived_uid(*parts))
    assert uid.is_valid
    number = uuid.UUID(int=int(uid.removeprefix("2.25.")))
    assert (number.variant, number.version) == (uuid.RFC_4122, 8)


@given(PARTS, PARTS)
def test_same_parts_same_uid_other_parts_other_uid(parts, others):
    assert (derived_uid(*parts) == derived_uid(*others)) == (parts == others)


def test_derived_uids_never_change_between_versions():
    # Files of earlier exports refer to one another by these.
    assert derived_uid("1.2.840.1", "0") == "2.25.76058480015912286236844796264997436879"
