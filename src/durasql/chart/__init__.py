"""Workflows as flowcharts, for documents and for eyes that like pictures.

flowchart.py   program -> boxes and arrows
text.py        boxes and arrows -> Mermaid or Graphviz text
blocks.py      rectangles put below, beside and around each other
layout.py      program -> rectangles
svg.py         rectangles -> SVG
"""
