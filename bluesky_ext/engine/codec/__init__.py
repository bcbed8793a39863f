"""Documents as bytes: msgpack with arrays, and no pickle."""
