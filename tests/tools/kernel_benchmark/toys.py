"""Toy images, on which everything is measured in seconds, and a page that takes the tables."""

from __future__ import annotations

from benchmarks.harness.case import Case
from benchmarks.kernels.cases import Shapes

CASE_2D = Case((1, 2, 12, 10))
CASE_3D = Case((1, 2, 5, 6, 7))
TOYS = Shapes(
    paper_2d=CASE_2D.shape,
    paper_3d=CASE_3D.shape,
    sizes=((1, 2, 8, 8), (1, 2, 4, 4, 4)),
    windows_3d=(1, 2, 4, 4, 4),
    classes_spatial=(8, 8),
    classes=(2, 3),
    one_channel=((1, 1, 8, 8),),
    small=(1, 2, 6, 6),
    classes_of_loss=(2, 3),
    many_classes=(2, 117),
    many_classes_spatial=((6, 7), (2, 3, 4)),
    pooled=((1, 3, 4, 5, 6),),
)
OPTIONS = [
    "--one-process",
    "--seconds",
    "0",
    "--least-rounds",
    "2",
    "--most-rounds",
    "2",
    "--threads",
    "1",
]
PAGE = """before
<!-- benchmark:bars begin -->
<!-- benchmark:bars end -->
between
<!-- benchmark:pictures begin -->old<!-- benchmark:pictures end -->
after
"""
