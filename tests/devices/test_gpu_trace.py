import jax
import jax.numpy as jnp
import pytest
from jax.profiler import ProfileData

from harmony_jax.devices.gpu_trace import GpuTrace, read_trace

# Two steps on a GPU, in microseconds: two kernels that overlap, another, a copy.
GPU = """
planes {
  name: "/device:GPU:0"
  lines { name: "Stream #14(Compute)" timestamp_ns: 0
    events { metadata_id: 1 offset_ps: 0 duration_ps: 4000000 }
    events { metadata_id: 2 offset_ps: 10000000 duration_ps: 2000000 }
  }
  lines { name: "Stream #15(MemcpyD2D,Compute)" timestamp_ns: 0
    events { metadata_id: 1 offset_ps: 2000000 duration_ps: 4000000 }
    events { metadata_id: 3 offset_ps: 20000000 duration_ps: 1000000 }
  }
  lines { name: "XLA Ops" timestamp_ns: 0
    events { metadata_id: 1 offset_ps: 0 duration_ps: 9000000 }
  }
  event_metadata { key: 1 value { id: 1 name: "loop_add_fusion" } }
  event_metadata { key: 2 value { id: 2 name: "cudnn_conv" } }
  event_metadata { key: 3 value { id: 3 name: "MemcpyD2D" } }
}
planes {
  name: "/host:CPU"
  lines { name: "tf_XLAEigen"
    events { metadata_id: 1 } events { metadata_id: 2 }
  }
  event_metadata { key: 1 value { id: 1 name: "cuLaunchKernelEx" } }
  event_metadata { key: 2 value { id: 2 name: "PjitFunction(step)" } }
}
"""


@pytest.fixture
def write(tmp_path):
    def write_trace(text):
        folder = tmp_path / "plugins" / "profile" / "2026_01_01_00_00_00"
        folder.mkdir(parents=True)
        trace = ProfileData.text_proto_to_serialized_xspace(text)
        (folder / "host.xplane.pb").write_bytes(trace)
        return tmp_path

    return write_trace


@pytest.mark.parametrize("gpus", [1, 2])
def test_of_several_gpus_the_mean_is_taken(write, gpus):
    plane = GPU[GPU.index("planes {") : GPU.rindex("planes {")]
    more = plane.replace("GPU:0", "GPU:1") if gpus == 2 else ""
    trace = read_trace(write(GPU + more), steps=2)
    assert trace == GpuTrace(1.5, 0.5, pytest.approx((6 + 2 + 1) * 1e-6 / 2))


def test_no_gpu(tmp_path):
    with jax.profiler.trace(tmp_path):
        jax.block_until_ready(jax.jit(lambda x: x + 1)(jnp.ones(3)))
    assert read_trace(tmp_path, 1) is None
