"""What a TensorFlow Serving server needs beside a SavedModel: warm-up, configuration, requests."""
