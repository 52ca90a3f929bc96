"""Text in pictures: `TextReader`, by models of the PP-OCR family."""

from minidnn.contrib.ocr.reader import TextLine, TextReader, models_folder

__all__ = ["TextLine", "TextReader", "models_folder"]
