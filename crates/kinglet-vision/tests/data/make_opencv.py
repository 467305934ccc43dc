"""Writes the golden values of `tests/it/opencv.rs` (raw RGB bytes) with OpenCV: run it in this folder."""
import cv2
import numpy as np

h, w = 23, 37
y, x = np.mgrid[0:h, 0:w]
im = np.stack([(x * 7 + y * 13 + x * y) % 256, (x * x + 3 * y) % 256, (255 - x * 5 + y * y * 2) % 256], -1).astype(np.uint8)
for nw, nh in [(50, 31), (20, 11), (37, 40), (1, 1)]:
    cv2.resize(im, (nw, nh), interpolation=cv2.INTER_LINEAR).tofile(f"linear_{nw}x{nh}.rgb")
for nw, nh in [(20, 11), (12, 7), (1, 1), (37, 9)]:
    cv2.resize(im, (nw, nh), interpolation=cv2.INTER_AREA).tofile(f"area_{nw}x{nh}.rgb")
affine = np.array([[1.1, 0.2, -3.3], [-0.15, 0.9, 4.7]])
cv2.warpAffine(im, affine, (40, 30), borderValue=(114, 114, 114)).tofile("affine_40x30.rgb")
perspective = np.array([[1.1, 0.2, -3.3], [-0.15, 0.9, 4.7], [0.001, -0.002, 1]])
cv2.warpPerspective(im, perspective, (40, 30), borderValue=(114, 114, 114)).tofile("perspective_40x30.rgb")
steps = np.arange(0, 256, 17)
rgb = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(1, -1, 3).astype(np.uint8)
cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV).tofile("rgb_to_hsv.bin")
hsv = np.stack(np.meshgrid(np.arange(0, 180, 12), steps, steps, indexing="ij"), -1).reshape(1, -1, 3).astype(np.uint8)
cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).tofile("hsv_to_rgb.bin")


# JPEGs of a smooth picture with edges, and their halves.
y, x = np.mgrid[0:46, 0:74]
edges = 60 * ((x // 11 + y // 7) % 3 == 0)
im = np.stack([40 + x + edges, 60 + 2 * y, 200 - x + edges // 2], -1).astype(np.uint8)
for name, sampling, restart in [("420", 0x221111, 2), ("422", 0x211111, 0), ("444", 0x111111, 1), ("440", 0x121111, 0)]:
    settings = [cv2.IMWRITE_JPEG_QUALITY, 85, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling, cv2.IMWRITE_JPEG_RST_INTERVAL, restart]
    _, file = cv2.imencode(".jpg", im, settings)
    file.tofile(f"half_{name}.jpg")
    whole = cv2.cvtColor(cv2.imdecode(file, 1), cv2.COLOR_BGR2RGB)
    whole.tofile(f"whole_{name}.rgb")
    cv2.resize(whole, (37, 23)).tofile(f"half_{name}.rgb")
    if sampling != 0x111111:
        _, file = cv2.imencode(".jpg", im[:45, :73], settings)
        file.tofile(f"odd_{name}.jpg")
        cv2.cvtColor(cv2.imdecode(file, 1), cv2.COLOR_BGR2RGB).tofile(f"odd_{name}.rgb")
