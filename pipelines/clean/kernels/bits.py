"""Things that Python cannot say and a processor can, as numba intrinsics.

Each becomes one or a few instructions (vector ones where the processor has them; LLVM splits them
where it has not). Nothing checks bounds here: the callers do.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

BLOCK = 64
BYTES = ir.VectorType(ir.IntType(8), BLOCK)


@intrinsic
def find_address(context: Any, data: Any) -> Any:
    """Where an array begins. An address is a plain integer: a loop over it counts no references."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.ptrtoint(array.data, ir.IntType(64))

    return types.int64(data), generate


@intrinsic
def load_byte(context: Any, address: Any) -> Any:
    """The byte at an address, as a uint64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(_load(builder, args[0], ir.IntType(8)), ir.IntType(64))

    return types.uint64(types.int64), generate


@intrinsic
def load_word(context: Any, address: Any) -> Any:
    """The 8 bytes from an address on as one uint64, the first byte lowest."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _load(builder, args[0], ir.IntType(64))

    return types.uint64(types.int64), generate


@intrinsic
def mark_spaces(context: Any, address: Any) -> Any:
    """Which of the 64 bytes from an address on are ASCII white space (9 to 13, 32): bit i for
    byte i."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        block = _load(builder, args[0], BYTES)
        blank = builder.icmp_unsigned("==", block, _fill(32))
        control = builder.icmp_unsigned("<", builder.sub(block, _fill(9)), _fill(5))
        return builder.bitcast(builder.or_(blank, control), ir.IntType(64))

    return types.uint64(types.int64), generate


@intrinsic
def mark_high(context: Any, address: Any) -> Any:
    """Which of the 64 bytes from an address on are not ASCII: bit i for byte i."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        high = builder.icmp_signed("<", _load(builder, args[0], BYTES), _fill(0))
        return builder.bitcast(high, ir.IntType(64))

    return types.uint64(types.int64), generate


@intrinsic
def count_zeros(context: Any, value: Any) -> Any:
    """How many low bits of a uint64 are zero (64 for 0)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@intrinsic
def multiply(context: Any, left: Any, right: Any) -> Any:
    """The low and the high half of the product of two uint64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        low = builder.trunc(product, ir.IntType(64))
        high = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))
        return context.make_tuple(builder, signature.return_type, (low, high))

    return types.UniTuple(types.uint64, 2)(types.uint64, types.uint64), generate


def _load(builder: Any, address: Any, kind: Any) -> Any:
    return builder.load(builder.inttoptr(address, ir.PointerType(kind)), align=1)


def _fill(value: int) -> Any:
    return ir.Constant(BYTES, [value] * BLOCK)
