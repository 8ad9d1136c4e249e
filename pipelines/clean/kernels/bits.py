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
def load_lower(context: Any, address: Any, size: Any) -> Any:
    """The `size` (0 to 16) bytes from an address on, A to Z made a to z, as two uint64, the first
    byte lowest and zeros above the last. All 16 bytes from the address on are read."""
    kind = ir.VectorType(ir.IntType(8), 16)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        letters = _load(builder, args[0], kind)
        past_a = builder.sub(letters, ir.Constant(kind, [65] * 16))
        capital = builder.icmp_unsigned("<", past_a, ir.Constant(kind, [26] * 16))
        lower = builder.or_(letters, ir.Constant(kind, [32] * 16))
        length = _spread(builder, builder.trunc(args[1], ir.IntType(8)), kind)
        inside = builder.icmp_unsigned("<", ir.Constant(kind, list(range(16))), length)
        kept = builder.select(
            inside, builder.select(capital, lower, letters), ir.Constant(kind, None)
        )
        halves = builder.bitcast(kept, ir.VectorType(ir.IntType(64), 2))
        parts = [builder.extract_element(halves, ir.IntType(32)(i)) for i in range(2)]
        return context.make_tuple(builder, signature.return_type, parts)

    return types.UniTuple(types.uint64, 2)(types.int64, types.int64), generate


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
def find_ends(context: Any, hashes: Any, count: Any, factors: Any, signature: Any) -> Any:
    """The least and the greatest of the products of `count` hashes with each of 64 factors (all
    uint32, mod 2^32), into a signature of 128: first the least, then the complements of the
    greatest. Of no hash all are 0xFFFFFFFF.

    The arguments but `count` are addresses. What is least and greatest so far stays in registers:
    four vectors of sixteen each, where the processor has such.
    """
    lanes, vectors = 16, 4
    kind = ir.VectorType(ir.IntType(32), lanes)
    one = ir.Constant(ir.IntType(64), 1)
    full = ir.Constant(kind, [2**32 - 1] * lanes)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        hashes, count, factors, target = args
        places = [ir.Constant(ir.IntType(64), 4 * lanes * i) for i in range(2 * vectors)]
        by = [_load(builder, builder.add(factors, place), kind) for place in places[:vectors]]
        given = [full] * vectors + [full.type(None)] * vectors
        before = builder.block
        loop = builder.append_basic_block("loop")
        done = builder.append_basic_block("done")
        builder.cbranch(builder.icmp_signed(">", count, one.type(0)), loop, done)

        builder.position_at_end(loop)
        index = builder.phi(ir.IntType(64))
        held = [builder.phi(kind) for _ in places]
        at = builder.add(hashes, builder.shl(index, ir.Constant(ir.IntType(64), 2)))
        spread = _spread(builder, _load(builder, at, ir.IntType(32)), kind)
        products = [builder.mul(spread, factor) for factor in by]
        pairs = list(zip(held, products * 2, "<" * vectors + ">" * vectors, strict=True))
        ends = [
            builder.select(builder.icmp_unsigned(way, product, old), product, old)
            for old, product, way in pairs
        ]
        following = builder.add(index, one)
        index.add_incoming(one.type(0), before)
        index.add_incoming(following, loop)
        for old, start, new in zip(held, given, ends, strict=True):
            old.add_incoming(start, before)
            old.add_incoming(new, loop)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, done)

        builder.position_at_end(done)
        results = [builder.phi(kind) for _ in places]
        for result, start, new in zip(results, given, ends, strict=True):
            result.add_incoming(start, before)
            result.add_incoming(new, loop)
        for i, (place, result) in enumerate(zip(places, results, strict=True)):
            value = result if i < vectors else builder.xor(result, full)
            held_at = builder.inttoptr(builder.add(target, place), ir.PointerType(kind))
            builder.store(value, held_at, align=1)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


def _spread(builder: Any, single: Any, kind: Any) -> Any:
    """A vector of which each element is `single`."""
    nothing = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(nothing, single, ir.IntType(32)(0))
    return builder.shuffle_vector(
        first, nothing, ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
    )
