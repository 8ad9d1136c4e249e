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
def load_half(context: Any, address: Any) -> Any:
    """The 4 bytes from an address on as one uint32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _load(builder, args[0], ir.IntType(32))

    return types.uint32(types.int64), generate


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


@intrinsic
def lower_minima(context: Any, hashes: Any, count: Any, factors: Any, minima: Any) -> Any:
    """Lower 128 minima by the products of `count` hashes with 128 factors (all uint32, mod 2^32).

    The arguments but `count` are addresses. The minima stay in registers: eight vectors of sixteen,
    where the processor has such.
    """
    lanes, vectors = 16, 8
    kind = ir.VectorType(ir.IntType(32), lanes)
    one = ir.Constant(ir.IntType(64), 1)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        hashes, count, factors, minima = args
        places = [ir.Constant(ir.IntType(64), 4 * lanes * i) for i in range(vectors)]
        by = [_load(builder, builder.add(factors, place), kind) for place in places]
        given = [_load(builder, builder.add(minima, place), kind) for place in places]
        before = builder.block
        loop = builder.append_basic_block("loop")
        done = builder.append_basic_block("done")
        builder.cbranch(builder.icmp_signed(">", count, one.type(0)), loop, done)

        builder.position_at_end(loop)
        index = builder.phi(ir.IntType(64))
        held = [builder.phi(kind) for _ in places]
        at = builder.add(hashes, builder.shl(index, ir.Constant(ir.IntType(64), 2)))
        single = _load(builder, at, ir.IntType(32))
        spread = builder.shuffle_vector(
            builder.insert_element(ir.Constant(kind, ir.Undefined), single, ir.IntType(32)(0)),
            ir.Constant(kind, ir.Undefined),
            ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes),
        )
        lower = []
        for old, factor in zip(held, by, strict=True):
            product = builder.mul(spread, factor)
            lower.append(builder.select(builder.icmp_unsigned("<", product, old), product, old))
        following = builder.add(index, one)
        index.add_incoming(one.type(0), before)
        index.add_incoming(following, loop)
        for old, start, new in zip(held, given, lower, strict=True):
            old.add_incoming(start, before)
            old.add_incoming(new, loop)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, done)

        builder.position_at_end(done)
        results = [builder.phi(kind) for _ in places]
        for place, result, start, new in zip(places, results, given, lower, strict=True):
            result.add_incoming(start, before)
            result.add_incoming(new, loop)
            held_at = builder.inttoptr(builder.add(minima, place), ir.PointerType(kind))
            builder.store(result, held_at, align=1)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate
