"""What several formats share: decoders, streams, arrays in files, header text."""
