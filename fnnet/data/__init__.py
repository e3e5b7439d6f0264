"""Data: files, downloads and data sets, splits and their batches, distortions."""
