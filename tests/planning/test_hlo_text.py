from harmony_jax.planning.hlo_text import instructions, memory_traffic

# Shortened from programs compiled for a TPU.
PROGRAM = """\
HloModule jit_step, is_scheduled=true

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[]{:T(128)} parameter(0)
  %y = f32[]{:T(128)} parameter(1)
  ROOT %sum = f32[]{:T(128)} add(%x, %y)
}

%fused (p: bf16[32,64,64,18]) -> bf16[32,64,64,18] {
  %p = IN_HBM parameter(0)
  ROOT %neg = IN_HBM negate(%p)
}

%body (carried: (s32[], f32[300])) -> (s32[], f32[300]) {
  %carried = (s32[]{:T(128)}, f32[300]{0:T(512)}) parameter(0)
  %vector = f32[300]{0:T(512)} get-tuple-element(%carried), index=1
  %all-reduce.1 = f32[300]{0:T(512)} all-reduce(%vector), to_apply=%add, metadata={NAME}
  ROOT %next = (s32[]{:T(128)}, f32[300]{0:T(512)}) tuple(%counter, %all-reduce.1)
}

%condition (carried.1: (s32[], f32[300])) -> pred[] {
  %carried.1 = (s32[]{:T(128)}, f32[300]{0:T(512)}) parameter(0)
  %limit = s32[]{:T(128)} constant(4)
  %counter.1 = s32[]{:T(128)} get-tuple-element(%carried.1), index=0
  ROOT %less = pred[]{:T(512)} compare(%counter.1, %limit), direction=LT
}

ENTRY %main (image: bf16[32,64,64,18]) -> bf16[32,64,64,18] {
  %image = IN_HBM parameter(0)
  %copy-start = (ON_CHIP, IN_HBM, u32[]{:S(2)}) copy-start(%image)
  %copy-done = ON_CHIP copy-done(%copy-start)
  %fusion = IN_HBM fusion(%copy-done), kind=kLoop, calls=%fused
  %start = (s32[]{:T(128)}, f32[300]{0:T(512)}) tuple(%zero, %zeros)
  %while = (s32[]{:T(128)}, f32[300]{0:T(512)}) while(%start), condition=%condition, body=%body
  ROOT %out = IN_HBM copy(%fusion)
}
"""
for short, text in {
    "IN_HBM": "bf16[32,64,64,18]{0,3,2,1:T(8,128)(2,1)}",
    "ON_CHIP": "bf16[32,64,64,18]{0,3,2,1:T(8,128)(2,1)S(1)}",
    "NAME": 'op_name="jit(step)/jvp()/reduce_sum"',
}.items():
    PROGRAM = PROGRAM.replace(short, text)

BY_NAME = {instruction.name: instruction for instruction in instructions(PROGRAM)}
MAP = 64 * 64 * 24 * 128 * 2  # the 32 images padded to 128 lanes, the 18 channels to 24 sublanes


def test_arrays_take_the_bytes_of_their_tiles():
    (array,) = BY_NAME["image"].results
    assert (array.dtype, array.shape, array.bytes) == (
        "bf16",
        (32, 64, 64, 18),
        32 * 64**2 * 18 * 2,
    )
    assert array.stored_bytes == MAP
    (vector,) = BY_NAME["vector"].results
    assert (vector.bytes, vector.stored_bytes) == (1200, 2048)


def test_traffic_is_what_crosses_main_memory():
    assert memory_traffic(BY_NAME["copy-start"]) == MAP  # read alone: it goes on the chip
    assert memory_traffic(BY_NAME["copy-done"]) == 0
    assert memory_traffic(BY_NAME["fusion"]) == MAP  # written alone
    assert memory_traffic(BY_NAME["neg"]) == 0  # inside the fusion
    assert memory_traffic(BY_NAME["out"]) == 2 * MAP
    assert memory_traffic(BY_NAME["while"]) == 0


def test_a_loop_counts_as_often_as_it_runs():
    reduction = BY_NAME["all-reduce.1"]
    assert reduction.times == 4
    assert memory_traffic(reduction) == 4 * 2 * 2048
    noted = PROGRAM.replace(
        "body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"7"}}'
    )
    assert {i.times for i in instructions(noted) if i.name == "all-reduce.1"} == {7}


def test_operations_know_what_they_were_compiled_from():
    assert BY_NAME["all-reduce.1"].op_name == "jit(step)/jvp()/reduce_sum"
    assert [array.shape for array in BY_NAME["all-reduce.1"].operands] == [(300,)]


# Shortened from a program compiled for a GPU.
SLICED = """\
%fused_slice (p0: f32[1000]) -> f32[8] {
  %p0 = f32[1000]{0} parameter(0)
  %bitcast.1 = f32[10,100]{1,0} bitcast(%p0)
  %slice.1 = f32[1,4]{1,0} slice(%bitcast.1), slice={[0:1], [0:4]}
  %slice.2 = f32[1,4]{1,0} slice(%bitcast.1), slice={[1:2], [0:4]}
  ROOT %joined = f32[8]{0} concatenate(%slice.1, %slice.2), dimensions={0}
}

%fused_both (p1: f32[1000], p2: f32[10]) -> f32[10] {
  %p2 = f32[10]{0} parameter(1)
  %p1 = f32[1000]{0} parameter(0)
  %slice.3 = f32[10]{0} slice(%p1), slice={[0:10]}
  ROOT %added = f32[10]{0} add(%slice.3, %p2)
}

%fused_whole (p3: f32[1000]) -> f32[1000] {
  %p3 = f32[1000]{0} parameter(0)
  %slice.4 = f32[10]{0} slice(%p3), slice={[0:10]}
  ROOT %negated = f32[1000]{0} negate(%p3)
}

ENTRY %main (vector: f32[1000], short: f32[10]) -> f32[8] {
  %vector = f32[1000]{0} parameter(0)
  %short = f32[10]{0} parameter(1)
  %sliced = f32[8]{0} fusion(%vector), kind=kLoop, calls=%fused_slice
  %both = f32[10]{0} fusion(%vector, %short), kind=kLoop, calls=%fused_both
  %whole = f32[1000]{0} fusion(%vector), kind=kLoop, calls=%fused_whole
  ROOT %alone = f32[5]{0} slice(%vector), slice={[0:5]}
}
"""


def test_of_what_is_sliced_only_the_slices_are_read():
    found = {instruction.name: instruction for instruction in instructions(SLICED)}
    assert memory_traffic(found["sliced"]) == 4 * (8 + 8)
    assert memory_traffic(found["both"]) == 4 * (10 + 10 + 10)
    assert memory_traffic(found["whole"]) == 4 * (1000 + 1000)
    assert memory_traffic(found["alone"]) == 4 * (5 + 5)
