"""Reading compiled programs. They are shortened from real ones, with other shapes."""

import re

from harmony_jax.planning.hlo import bytes_moved, operations

# Compiled for a TPU.
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
  %all-reduce.1 = f32[300]{0:T(512)} all-reduce(%vector), to_apply=%add
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
PROGRAM = PROGRAM.replace("IN_HBM", "bf16[32,64,64,18]{0,3,2,1:T(8,128)(2,1)}")
PROGRAM = PROGRAM.replace("ON_CHIP", "bf16[32,64,64,18]{0,3,2,1:T(8,128)(2,1)S(1)}")

MAP = 64 * 64 * 24 * 128 * 2  # the 32 images padded to 128 lanes, the 18 channels to 24 sublanes
VECTOR = 2048  # 300 values padded to 512

# Compiled for a GPU.
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


def moved(text: str) -> dict[str, int]:
    return {operation.name: operation.moved for operation in operations(text)}


def test_bytes_are_those_that_cross_main_memory():
    found = moved(PROGRAM)
    assert found["copy-start"] == MAP  # read only: it goes on the chip
    assert found["copy-done"] == found["neg"] == found["while"] == 0
    assert found["fusion"] == MAP  # written only
    assert found["out"] == 2 * MAP
    assert bytes_moved(operations(PROGRAM)) == 4 * MAP + 4 * 2 * VECTOR


def test_a_loop_counts_as_often_as_it_runs():
    noted = re.sub("body=%body", r'\g<0>, config={"known_trip_count":{"n":"7"}}', PROGRAM)
    for text, times in ((PROGRAM, 4), (noted, 7)):
        (reduction,) = (o for o in operations(text) if o.opcode == "all-reduce")
        assert (reduction.times, reduction.moved) == (times, 2 * VECTOR)
        assert [array.shape for array in reduction.operands] == [(300,)]


def test_of_what_is_sliced_only_the_slices_are_read():
    found = moved(SLICED)
    assert found["sliced"] == 4 * (8 + 8)
    assert found["both"] == 4 * (10 + 10 + 10)
    assert found["whole"] == 4 * (1000 + 1000)
    assert found["alone"] == 4 * (5 + 5)
