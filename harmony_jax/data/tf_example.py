"""Takes serialized `tf.train.Example`s apart; TFDS and TensorFlow take seconds to load for it."""

from collections import defaultdict

# Field numbers in TensorFlow's example.proto and feature.proto.
_EXAMPLE_FEATURES = 1
_FEATURES_ENTRY = 1
_ENTRY_KEY, _ENTRY_FEATURE = 1, 2
_FEATURE_BYTES_LIST = 1
_BYTES_LIST_VALUE = 1

_WITH_LENGTH = 2  # wire type of strings, bytes and messages


def parse_example(data: bytes) -> dict[str, bytes]:
    """The features of an example, each of which is one byte string, by name.

    Raises:
        ValueError: it is no such example.
    """
    found = {}
    for entry in _fields(_only(_fields(memoryview(data))[_EXAMPLE_FEATURES]))[_FEATURES_ENTRY]:
        fields = _fields(entry)
        feature = _fields(_only(fields[_ENTRY_FEATURE]))
        values = _fields(_only(feature[_FEATURE_BYTES_LIST]))[_BYTES_LIST_VALUE]
        found[str(_only(fields[_ENTRY_KEY]), "utf-8")] = bytes(_only(values))
    return found


def _fields(message: memoryview) -> dict[int, list[memoryview]]:
    """A message's fields by number, in order; all have a length in what is read here."""
    found = defaultdict(list)
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        if tag & 7 != _WITH_LENGTH:
            raise ValueError(f"field {tag >> 3} is no byte string")
        length, start = _varint(message, position)
        position = start + length
        if position > len(message):
            raise ValueError("the record is cut short")
        found[tag >> 3].append(message[start:position])
    return found


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """The number at a position, of seven bits a byte, and the position behind it."""
    value = shift = 0
    while position < len(message):
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("the record is cut short")


def _only(values: list[memoryview]) -> memoryview:
    if len(values) != 1:
        raise ValueError(f"a field is there {len(values)} times, expected once")
    return values[0]
