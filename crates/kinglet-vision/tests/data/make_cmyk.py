"""Writes `cmyk.jpg`: 16x8 px, left half near red (C 0, M 200, Y 200, K 0), right half dark grey (K 200)."""
from PIL import Image

picture = Image.new("CMYK", (16, 8), (0, 200, 200, 0))
picture.paste((0, 0, 0, 200), (8, 0, 16, 8))
picture.save("cmyk.jpg", quality=95)
