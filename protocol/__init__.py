"""The words that nodes speak: ids, messages, digests, frames, codec, errors, limits."""
