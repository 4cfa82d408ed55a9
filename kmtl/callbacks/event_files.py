"""Event files, which TensorBoard reads: numbers, histograms, pictures and text by tag and step."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf


class EventFiles:
    """Writes events of several runs, each in a folder of its own; TensorBoard draws equal tags into one chart.

    Args:
        folder: Where the runs' folders stand. A run's file is made with its first event.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._writers: dict[str, Any] = {}

    def _at(self, run: str, step: int) -> Any:
        """What writes into a run at a step."""
        if run not in self._writers:
            self._writers[run] = tf.summary.create_file_writer(os.path.join(self.folder, run))
        return self._writers[run].as_default(step)

    def numbers(self, run: str, values: Mapping[str, float], step: int) -> None:
        """Writes numbers by tag."""
        with self._at(run, step):
            for tag, value in values.items():
                tf.summary.scalar(tag, value)

    def histograms(self, run: str, values: Mapping[str, Any], step: int) -> None:
        """Writes the distributions of arrays by tag."""
        with self._at(run, step):
            for tag, value in values.items():
                tf.summary.histogram(tag, value)

    def picture(self, run: str, tag: str, figure: Any, step: int) -> None:
        """Writes a matplotlib figure."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        with self._at(run, step):
            tf.summary.image(tag, np.asarray(canvas.buffer_rgba())[None])

    def text(self, run: str, tag: str, markdown: str, step: int) -> None:
        """Writes Markdown."""
        with self._at(run, step):
            tf.summary.text(tag, markdown)

    def flush(self) -> None:
        """Lets a reader see what was written so far."""
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """Ends the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}
