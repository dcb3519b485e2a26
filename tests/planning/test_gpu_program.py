"""Reading programs compiled for GPUs, shortened from real ones, with other shapes."""

from harmony_jax.planning.collectives import Collective, collectives
from harmony_jax.planning.gpu_program import Launches, kernels, launches, product_flops
from harmony_jax.planning.hlo import operations

FORWARD = 2 * (4 * 8 * 8 * 16) * (3 * 3 * 18)  # outputs times kernel
PROGRAM = """\
HloModule jit_step, is_scheduled=true

%fused_reduce (p: f32[4,8,8,16]) -> f32[16] {
  %p = f32[4,8,8,16]{3,2,1,0} parameter(0)
  ROOT %reduce.1 = f32[16]{0} reduce(%p, %zero), dimensions={0,1,2}, to_apply=%add
}

%gemm_fusion_dot_computation (a: bf16[64,18], b: bf16[18,32]) -> bf16[64,32] {
  %a = bf16[64,18]{1,0} parameter(0)
  %b = bf16[18,32]{1,0} parameter(1)
  ROOT %dot.1 = bf16[64,32]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%wrapped (v: f32[16]) -> f32[16] {
  %v = f32[16]{0} parameter(0)
  ROOT %copy.9 = f32[16]{0} copy(%v)
}

ENTRY %main (x: bf16[4,16,16,18], w: bf16[16,3,3,18]) -> bf16[16,3,3,18] {
  %x = bf16[4,16,16,18]{3,2,1,0} parameter(0)
  %w = bf16[16,3,3,18]{3,2,1,0} parameter(1)
  %cudnn-conv.1 = (OUTPUT, u8[0]{0}) custom-call(%x, %w), WINDOW, TARGETForward"
  %y = OUTPUT get-tuple-element(%cudnn-conv.1), index=0
  %cudnn-conv-bw-input.1 = (INPUT, u8[0]{0}) custom-call(%y, %w), WINDOW, TARGETBackwardInput"
  %cudnn-conv-bw-filter.1 = (KERNEL, u8[0]{0}) custom-call(%x, %y), WINDOW, TARGETBackwardFilter"
  %input_reduce_fusion = f32[16]{0} fusion(%y), kind=kInput, calls=%fused_reduce
  %all-reduce-start = f32[16]{0} all-reduce-start(%input_reduce_fusion), FORWARD_SUM
  %all-reduce-done = f32[16]{0} all-reduce-done(%all-reduce-start), FORWARD_SUM
  %one = f32[1,16]{1,0} bitcast(%all-reduce-done)
  %all-gather-start = ((f32[1,16]{1,0}), f32[4,16]{1,0}) all-gather-start(%one), BACKWARD_SUM
  %all-gather-done = f32[4,16]{1,0} all-gather-done(%all-gather-start)
  %wrapped_copy = f32[16]{0} fusion(%all-reduce-done), kind=kLoop, calls=%wrapped
  %copy.3 = f32[16]{0} copy(%wrapped_copy)
  %l = bf16[64,18]{1,0} bitcast(%x)
  %r = bf16[18,32]{1,0} bitcast(%w)
  %gemm_fusion_dot.1 = bf16[64,32]{1,0} fusion(%l, %r), calls=%gemm_fusion_dot_computation
  %cublas-gemm.1 = (bf16[64,32]{1,0}, s8[4]{0}) custom-call(%l, %r), GEMM
  ROOT %dw = KERNEL get-tuple-element(%cudnn-conv-bw-filter.1), index=0
}
"""
for short, text in {
    "OUTPUT": "bf16[4,8,8,16]{3,2,1,0}",
    "INPUT": "bf16[4,16,16,18]{3,2,1,0}",
    "KERNEL": "bf16[16,3,3,18]{3,2,1,0}",
    "WINDOW": "window={size=3x3 stride=2x2 pad=1_0x1_0}, dim_labels=b01f_o01i->b01f",
    "TARGET": 'custom_call_target="__cudnn$conv',
    "GEMM": 'custom_call_target="__cublas$gemm", backend_config={"gemm_backend_config":'
    '{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"]}}}',
    "FORWARD_SUM": "replica_groups=mesh['replica'=4] {'replica'}",
    "BACKWARD_SUM": "replica_groups={{0,1,2,3}}",
}.items():
    PROGRAM = PROGRAM.replace(short, text)

LAUNCHES = """\
001: kCustomKernel  [source        | next=003 (2)] loop_slice_fusion grid: [4, 1, 1]
002: kConvolution   [prev=001 (1)  | next=003 (2)] kConvolution
000: kCommandBuffer [prev=002 (1)  | next=009 (1)]
    003: kCustomKernel [source       | next=004 (2)] loop_reduce_fusion_6 grid: [1, 1, 1]
    004: kCopy         [prev=003 (1) | sink        ] kCopy
005: kAsyncStart    [prev=004 (1)  | next=008 (3)] stream=communication_stream[0], async_id=13
    006: kAllReduce [source | sink] kAllReduce
007: kAsyncDone     [source        | sink        ] async_id=13
000: kCommandBuffer [prev=044 (1)  | next=054 (1)]
    008: kCustomKernel [source       | sink        ] input_concatenate_fusion grid: [1, 1, 1]
009: kMemset        [prev=000 (1)  | sink        ] kMemset
"""


def test_kernels_by_what_they_do():
    assert kernels(operations(PROGRAM)) == {"convolutions": 3, "products": 2, "other": 3}


def test_arithmetic_of_products():
    """Forward, input gradient and kernel gradient are the same products in another order."""
    flops = product_flops(operations(PROGRAM))
    assert flops == 3 * FORWARD + 2 * (2 * 64 * 18 * 32)


def test_graphs_and_what_they_hold(tmp_path):
    """An asynchronous collective counts once, not its start and end."""
    ending = "thunk_sequence_after_thunk_passes.txt"
    for number, name in enumerate(("jit_train_step", "jit__lambda")):
        (tmp_path / f"module_{number:04}.{name}.{ending}").write_text(LAUNCHES)
    (tmp_path / "module_0000.jit_train_step.thunk_sequence.txt").write_text(LAUNCHES)
    assert launches(tmp_path, "train_step") == Launches(graphs=2, captured=3, alone=4)
    assert launches(tmp_path, "evaluate") is None


def test_collectives_of_a_gpu():
    assert collectives(operations(PROGRAM), 4, 2) == [
        Collective("all-gather", "f32", 4, 2, 1, 256),
        Collective("all-reduce", "f32", 4, 2, 1, 64),
    ]
