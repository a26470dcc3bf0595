#!/bin/bash
# Image.save(xmp=...) writes XMP, or not, and never says.
#
# Expected: an image that carries XMP keeps it when Pillow opens it, resizes it and saves it in the same format; or save(xmp=...) writes it, as
#   for JPEG; or an option that the format does not know is an error.
# Happens: Pillow reads the XMP of all these formats into info["xmp"], and drops it when it saves a PNG, JPEG, WEBP or AVIF; of a TIFF it
#   stays. xmp=image.info["xmp"] writes it into JPEG, WEBP and AVIF, and is ignored for PNG and for a new TIFF. So the mark of a
#   generated image (IPTC's DigitalSourceType) is gone from each resized PNG, even if the code hands it over. For PNG
#   PngInfo.add_itxt("XML:com.adobe.xmp", ...) writes it. The colour profile goes by another rule: PNG, AVIF and TIFF keep it, JPEG
#   and WEBP drop it.
# Version: Pillow 13.0.0 (PyPI).
# Source: run here; _save in PIL/PngImagePlugin.py knows no xmp; in JpegImagePlugin.py, WebPImagePlugin.py and
#   AvifImagePlugin.py it takes xmp from the options alone, and icc_profile from image.info in some only.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check pillow==13.0.0 2>/dev/null
venv/bin/python - <<'EOF'
import io

import PIL
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" Iptc4xmpExt:DigitalSourceType='
    b'"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"/></rdf:RDF></x:xmpmeta>'
)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
TIFF_XMP = 700  # the tag's number


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return Image.open(io.BytesIO(file.getvalue()))


def itxt():
    chunk = PngInfo()
    chunk.add_itxt("XML:com.adobe.xmp", XMP.decode())
    return chunk


def marked(image):
    return b"trainedAlgorithmicMedia" in image.info.get("xmp", b"")


plain = Image.linear_gradient("L").convert("RGB")
ways = {"PNG": {"pnginfo": itxt()}, "JPEG": {"xmp": XMP}, "WEBP": {"xmp": XMP}, "AVIF": {"xmp": XMP}, "TIFF": {"tiffinfo": {TIFF_XMP: XMP}}}
print("Pillow", PIL.__version__)
seen = {}
for kind, way in ways.items():
    image = saved(plain, kind, icc_profile=PROFILE, **way)
    assert marked(image)
    assert image.info["icc_profile"] == PROFILE
    image.thumbnail((64, 64))
    again, handed_over = saved(image, kind), saved(image, kind, xmp=image.info["xmp"])
    seen[kind] = marked(again), again.info.get("icc_profile") == PROFILE, marked(saved(plain, kind, xmp=XMP)), marked(handed_over)
    print(f"{kind}: saved again, XMP {seen[kind][0]}, profile {seen[kind][1]}; XMP by xmp= {seen[kind][2]}, of a read image {seen[kind][3]}")
assert seen == {
    "PNG": (False, True, False, False),
    "JPEG": (False, False, True, True),
    "WEBP": (False, False, True, True),
    "AVIF": (False, True, True, True),
    "TIFF": (True, True, False, True),
}
EOF
echo "AS DESCRIBED"
