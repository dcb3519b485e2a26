import jax
import jax.numpy as jnp
import pytest
from jax.profiler import ProfileData

from scripts.benchmarks.gpu_trace import read_trace

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


@pytest.mark.parametrize("gpus", [1, 2])
def test_a_step_on_a_gpu(gpus, tmp_path):
    plane = GPU[GPU.index("planes {") : GPU.rindex("planes {")]
    folder = tmp_path / "plugins" / "profile" / "2026_01_01_00_00_00"
    folder.mkdir(parents=True)
    text = GPU + plane.replace("GPU:0", "GPU:1") * (gpus - 1)
    (folder / "host.xplane.pb").write_bytes(ProfileData.text_proto_to_serialized_xspace(text))
    assert read_trace(tmp_path, steps=2) == (1.5, pytest.approx((6 + 2 + 1) * 1e-6 / 2))


def test_no_gpu(tmp_path):
    with jax.profiler.trace(tmp_path):
        jax.block_until_ready(jax.jit(lambda x: x + 1)(jnp.ones(3)))
    assert read_trace(tmp_path, 1) is None
