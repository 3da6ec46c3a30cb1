"""Words that people type and that reach the dataset's files: only those pass that are listed.

A label, a ``casekind`` or a body part may hold anything, a name too. Whatever is none of the listed
words becomes :data:`OTHER`.
"""

from __future__ import annotations

from collections.abc import Collection

OTHER = "other"
MODALITIES = ("KMct", "KMmr", "MR", "None")
"""Of these the pre-filter makes ``Label``, joined by ``+``."""
BODY_PARTS = frozenset(
    {
        "ABDOMEN", "ABDOMENPELVIS", "ADRENAL", "ANKLE", "AORTA", "ARM", "AXILLA", "BACK",
        "BLADDER", "BRAIN", "BREAST", "BRONCHUS", "BUTTOCK", "CALCANEUS", "CALF",
        "CAROTID", "CEREBELLUM", "CERVIX", "CHEEK", "CHEST", "CHESTABDOMEN",
        "CHESTABDPELVIS", "CIRCLEOFWILLIS", "CLAVICLE", "COCCYX", "COLON", "CORNEA",
        "CORONARYARTERY", "CSPINE", "CTSPINE", "DUODENUM", "EAR", "ELBOW", "ESOPHAGUS",
        "EXTREMITY", "EYE", "EYELID", "FACE", "FEMUR", "FINGER", "FOOT", "GALLBLADDER",
        "HAND", "HEAD", "HEADNECK", "HEART", "HIP", "HUMERUS", "IAC", "ILEUM", "ILIUM",
        "JAW", "JEJUNUM", "KIDNEY", "KNEE", "LARYNX", "LEG", "LIVER", "LSPINE", "LSSPINE",
        "LUNG", "MAXILLA", "MEDIASTINUM", "MOUTH", "NECK", "NECKCHEST", "NECKCHESTABDOMEN",
        "NECKCHESTABDPELV", "NOSE", "ORBIT", "OVARY", "PANCREAS", "PAROTID", "PATELLA",
        "PELVIS", "PENIS", "PHARYNX", "PROSTATE", "RECTUM", "RIB", "SCALP", "SCAPULA",
        "SCLERA", "SCROTUM", "SHOULDER", "SKULL", "SPINE", "SPLEEN", "SSPINE", "STERNUM",
        "STOMACH", "SUBMANDIBULAR", "TESTIS", "THIGH", "THUMB", "THYMUS", "THYROID",
        "TIBIA", "TLSPINE", "TOE", "TONGUE", "TRACHEA", "TSPINE", "UTERUS", "VAGINA",
        "VULVA", "WHOLEBODY", "WRIST", "ZYGOMA",
    }
)  # fmt: skip
"""Body Part Examined (0018,0015) as PS3.16 annex L defines it."""


def listed(text: str, words: Collection[str]) -> str:
    """The word that a text is, as the list spells it; :data:`OTHER` where it is none of them.

    Case and outer blanks are ignored. A text of words joined by ``+`` passes where each does, and
    an empty one always.

    >>> listed("lunge ", ["Lunge"]), listed("Lunge Müller", ["Lunge"])
    ('Lunge', 'other')
    """
    spelling = {word.casefold(): word for word in words}
    parts = [spelling.get(part.strip().casefold()) for part in text.split("+")]
    if not text.strip():
        return ""
    return OTHER if None in parts else "+".join(filter(None, parts))
