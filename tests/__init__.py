"""The relay's tests."""

import warnings

# Python's -b finds where bytes are mixed with text. These places are known, and not ours.
for _module in (r"twisted\.internet\.unix", r"twisted\.web\.http_headers", "txredisapi"):
    warnings.filterwarnings("ignore", category=BytesWarning, module=_module)
