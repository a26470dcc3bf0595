#!/bin/bash
# imagesize reads an OS/2 bitmap as 13107520 pixels wide, and says nothing.
#
# Expected: (200, 24) for a BMP of 200 x 24, or (-1, -1), its word for "unknown".
# Happens: a BMP with the 12-byte header of OS/2 (BITMAPCOREHEADER, which Pillow reads) gives 1573064 x 1572865: width and height are
#   16 bits each there, imagesize reads both as the width, and the number of planes and the depth as the height.
#   A limit of pixels or of the aspect ratio then refuses the image with a sentence about a size that it does not have.
# Version: imagesize 2.0.1 (2.0.0 alike; 1.4.1 reads no BMP); Pillow 13.0.0 for comparison (PyPI).
# Source: run here; https://learn.microsoft.com/windows/win32/api/wingdi/ns-wingdi-bitmapcoreheader
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check imagesize==2.0.1 pillow==13.0.0 2>/dev/null
venv/bin/python - <<'EOF'
import struct
from importlib.metadata import version

import imagesize
from PIL import Image

width, height, row = 200, 24, 600
header = struct.pack("<IHHHH", 12, width, height, 1, 24)
with open("os2.bmp", "wb") as file:
    file.write(b"BM" + struct.pack("<IHHI", 26 + row * height, 0, 0, 26) + header + bytes(row * height))
Image.new("RGB", (width, height)).save("windows.bmp")
print("imagesize", version("imagesize"), "Pillow", version("pillow"))
for name in ("windows.bmp", "os2.bmp"):
    print(f"{name:12} Pillow {Image.open(name).size}  imagesize {imagesize.get(name)}")
assert Image.open("os2.bmp").size == imagesize.get("windows.bmp") == (width, height)
assert imagesize.get("os2.bmp") == (width | height << 16, 1 | 24 << 16)
print("AS DESCRIBED")
EOF
