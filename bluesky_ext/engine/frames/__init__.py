"""The image of an event, whatever form it came in: inline, behind resource and datum, or in a stream of frames."""
