"""The relay's tests."""

import warnings

# Python's -b finds where bytes are mixed with text. These places are known, and not ours; trial names them by their files.
warnings.filterwarnings(
    "ignore", category=BytesWarning, module=r".*(twisted[./]internet[./]unix|twisted[./]web[./]http_headers|txredisapi)"
)
