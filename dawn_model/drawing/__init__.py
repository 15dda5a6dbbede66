"""Drawing on pictures [H, W, 3]: lines, dots and boxes (`shapes.py`), and clips side by side (`contact_sheet.py`)."""
