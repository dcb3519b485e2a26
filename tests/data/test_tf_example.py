import numpy as np
import pytest
from tensorflow_datasets.proto import tf_example_pb2

from harmony_jax.data.tf_example import parse_example

RNG = np.random.default_rng(0)


def serialized(features: dict[str, bytes]) -> bytes:
    example = tf_example_pb2.Example()
    for name, data in features.items():
        example.features.feature[name].bytes_list.value.append(data)
    return example.SerializeToString()


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16383, 16384, 3_000_000])
def test_features_are_those_that_protobuf_packed(length):
    features = {"composite": RNG.bytes(length), "name": "Größe.jpg".encode(), "empty": b""}
    assert parse_example(serialized(features)) == features


def test_what_is_no_example_of_byte_strings_is_an_error():
    data = serialized({"name": b"value" * 40})
    for end in range(1, len(data)):
        with pytest.raises(ValueError, match=r"cut short"):
            parse_example(data[:end])
    numbers = tf_example_pb2.Example()
    numbers.features.feature["index"].int64_list.value.append(1)
    two = tf_example_pb2.Example()
    two.features.feature["names"].bytes_list.value.extend([b"a", b"b"])
    for other in (numbers.SerializeToString(), two.SerializeToString(), b"", b"\x08\x01"):
        with pytest.raises(ValueError, match=r"a field is there \d times|is no byte string"):
            parse_example(other)
