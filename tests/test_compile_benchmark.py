"""What `benchmarks.compile` reads out of a compiled program, and its arithmetic."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from benchmarks import hlo
from benchmarks.compile import at_best, collectives_in_words
from benchmarks.profile import profile
from benchmarks.topology import PEAKS, Peak, roofline, tpu_chips
from pose3d_jax.errors import UserError

#: A TPU's program, shortened: S(1) is memory on the chip.
TEXT = """HloModule jit_step, is_scheduled=true

%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[]{:T(128)} parameter(0)
  %b = f32[]{:T(128)} parameter(1)
  ROOT %add = f32[]{:T(128)} add(%a, %b)
}

%fused (x: bf16[4,8], k: bf16[8,2]) -> (bf16[4,2], f32[2]) {
  %x = bf16[4,8]{1,0:T(8,128)(2,1)} parameter(0)
  %k = bf16[8,2]{1,0} parameter(1)
  %conv.1 = bf16[4,2]{1,0} convolution(%x, %k), dim_labels=bf_io->bf
  %zero = f32[] constant(0)
  %sums = f32[2]{0} reduce(%conv.1, %zero), dimensions={0}, to_apply=%sum
  ROOT %both = (bf16[4,2]{1,0}, f32[2]{0}) tuple(%conv.1, %sums)
}

ENTRY %main (x: bf16[4,8], k: bf16[8,2]) -> f32[2] {
  %x = bf16[4,8]{1,0:T(8,128)(2,1)} parameter(0)
  %k = bf16[8,2]{1,0} parameter(1)
  %copy-start = (bf16[8,2]{1,0:S(1)}, bf16[8,2]{1,0}, u32[]{:S(2)}) copy-start(%k)
  %copy-done = bf16[8,2]{1,0:S(1)} copy-done(%copy-start)
  %slice-start.2 = ((bf16[4,8]{1,0}), bf16[2,8]{1,0}, u32[]) slice-start(%x), slice={[0:2], [0:8]}
  %slice-done.2 = bf16[2,8]{1,0} slice-done(%slice-start.2)
  %fusion.1 = (bf16[4,2]{1,0:T(8,128)(2,1)}, f32[2]{0}) fusion(%x, %copy-done), calls=%fused, \
metadata={op_name="jit(step)/jvp()/dot_general" stack_frame_id=3}
  %fusion.2 = (bf16[4,2]{1,0}, f32[2]{0:S(1)}) fusion(%x, %k), calls=%fused, \
metadata={op_name="jit(step)/transpose(jvp())/dot_general"}
  %y = f32[2]{0} get-tuple-element(%fusion.1), index=1
  %all-reduce-start = f32[2]{0} all-reduce-start(%y), replica_groups={{0,1}}, to_apply=%sum
  %all-reduce-done = f32[2]{0} all-reduce-done(%all-reduce-start)
  ROOT %all-reduce.7 = f32[2]{0} all-reduce(%all-reduce-done), to_apply=%sum
}
"""


def test_collectives_are_counted_once():
    assert hlo.collectives(TEXT) == {"all-reduce": 2}
    assert collectives_in_words(TEXT) == {"collectives": "2 all-reduce"}
    assert collectives_in_words("") == {"collectives": "none"}


def test_writes_are_what_leaves_the_chip():
    found = hlo.writes(TEXT)
    assert set(found) == {
        hlo.Write("slice", "other", "bf16", 2 * 2 * 8),
        hlo.Write("convolution", "forward", "bf16", 2 * 4 * 2),
        hlo.Write("convolution", "backward", "bf16", 2 * 4 * 2),
        hlo.Write("all-reduce", "other", "f32", 2 * 4 * 2),
        hlo.Write("convolution", "forward", "f32", 4 * 2),
    }
    assert [write.size for write in found] == sorted((w.size for w in found), reverse=True)


def test_operations_have_a_kind_by_their_labels():
    found = hlo.kinds(TEXT)
    assert found["fusion.1"] == ("convolution", "forward")
    assert found["fusion.2"] == ("convolution", "backward")
    assert found["all-reduce.7"] == ("all-reduce", "other")
    assert found["sums"] == ("reduce", "other")


def test_a_profile_tells_products_from_the_rest():
    def program(x):
        product = jax.lax.dot(x, x, precision="highest")
        return jnp.sort(jnp.sort(product, axis=0), axis=1)

    x = jax.random.normal(jax.random.key(0), (400, 400))
    compiled = jax.jit(program).lower(x).compile()
    rows = profile(lambda: compiled(x).block_until_ready(), compiled.as_text())
    call, *operations = rows.values()
    assert call["ms"] > 0 and call["cores busy"] > 0
    assert sum(row["% of all"] for row in operations) == pytest.approx(100)
    assert {"sort, other", "dot, other"} <= set(rows)
    times = [row["ms"] for row in operations]
    assert times == sorted(times, reverse=True) and times[-1] > 0


def test_the_roofline_is_the_slower_of_operations_and_memory():
    peak = Peak(operations=100.0, bytes=10.0)
    assert roofline(peak, operations=50.0, bytes_moved=1.0) == 2.0
    assert roofline(peak, operations=50.0, bytes_moved=20.0) == 0.5


def test_estimates_are_for_chips_whose_peaks_are_known():
    row = {"GFLOP per image": 97.0, "MB moved per image": 2400.0}
    (estimate,) = at_best(row, "v5e:2x2").values()
    assert estimate == pytest.approx(PEAKS["v5e"].bytes / 2.4e9)
    assert at_best(row, "v9:2x2") == {}


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setenv("TPU_LIBRARY_PATH", "/nowhere/libtpu.so")
    with pytest.raises(UserError, match="pip install --no-deps --target DIR libtpu"):
        tpu_chips("v5e:2x2")


@pytest.mark.skipif(
    not (os.environ.get("TPU_LIBRARY_PATH") or importlib.util.find_spec("libtpu")),
    reason="needs libtpu, or TPU_LIBRARY_PATH",
)
def test_tiny_compiles_for_tpus_that_are_not_there():
    options = "--topology v5e:2x2 --preset tiny --modules 1 --batch_size 2"
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.compile", *options.split()],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "| training step, 2 a chip |" in run.stdout and "all-reduce" in run.stdout
