"""Eight floating-point numbers as one value inside numba kernels.

A compiler that has to guess rarely turns the rows of a splat, five to seven pixels long, into vector instructions. Here
they are vectors by type: `load` reads eight neighbours of an array, `+ - * /` act on all of them, `store` writes them
back. LLVM lowers the type to whatever the machine has (two SSE or NEON registers, one AVX register). Products and sums
may fuse. numba's cache does not see changes of this file in the kernels that use it: delete the cache after a change.
"""

import math
import operator

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.datamodel.models import PrimitiveModel
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, overload, register_model

LANES = 8

# 2^f = sum of (f ln 2)^n / n!; for |f| <= 1/2 the first term left out is below the rounding of its type.
EXP2_TERMS_32 = tuple(math.log(2) ** n / math.factorial(n) for n in range(7, -1, -1))
EXP2_TERMS_64 = tuple(math.log(2) ** n / math.factorial(n) for n in range(13, -1, -1))


class Lanes(types.Type):
    """numba's type of eight numbers of type `scalar`."""

    def __init__(self, scalar):
        self.scalar = scalar
        super().__init__(name=f"Lanes({scalar})")


@register_model(Lanes)
class LanesModel(PrimitiveModel):
    def __init__(self, manager, lanes):
        super().__init__(manager, lanes, ir.VectorType(manager.lookup(lanes.scalar).get_value_type(), LANES))


def _register_operator(function, instruction):
    @infer_global(function)
    class LanesOperator(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and isinstance(args[0], Lanes) and args[0] == args[1]:
                return signature(args[0], *args)
            return None

    @lower_builtin(function, Lanes, Lanes)
    def lower(context, builder, sig, args):
        return getattr(builder, instruction)(*args, flags=("contract",))


for _function, _instruction in {
    operator.add: "fadd",
    operator.sub: "fsub",
    operator.mul: "fmul",
    operator.truediv: "fdiv",
}.items():
    _register_operator(_function, _instruction)


def _constant(vector, value):
    return ir.Constant(vector, [value] * LANES)


def _call(builder, name, result, args):
    """Call LLVM's own function `name` for the vector type of the last argument."""
    kind = "f32" if isinstance(args[-1].type.element, ir.FloatType) else "f64"
    type_ = ir.FunctionType(result, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, type_, f"llvm.{name}.v{LANES}{kind}"), args)


def _pointer(context, builder, array_type, array, index):
    first = builder.gep(context.make_array(array_type)(context, builder, array).data, [index])
    return builder.bitcast(first, context.get_value_type(Lanes(array_type.dtype)).as_pointer())


@intrinsic
def load(typing, array, index):
    """Eight neighbours of a contiguous array, from `index` on."""

    def generate(context, builder, sig, args):
        lanes = builder.load(_pointer(context, builder, array, *args))
        lanes.align = array.dtype.bitwidth // 8
        return lanes

    return Lanes(array.dtype)(array, index), generate


@intrinsic
def store(typing, array, index, lanes):
    """Write eight neighbours of a contiguous array, from `index` on."""

    def generate(context, builder, sig, args):
        builder.store(args[2], _pointer(context, builder, array, *args[:2])).align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.none(array, index, lanes), generate


@intrinsic
def prefetch(typing, array, index):
    """Ask for the cache line of one element of a contiguous array ahead of its use."""

    def generate(context, builder, sig, args):
        byte = ir.IntType(8).as_pointer()
        type_ = ir.FunctionType(ir.VoidType(), [byte] + [ir.IntType(32)] * 3)
        function = cgutils.get_or_insert_function(builder.module, type_, "llvm.prefetch.p0")
        address = builder.bitcast(
            builder.gep(context.make_array(array)(context, builder, args[0]).data, [args[1]]), byte
        )
        builder.call(function, [address, *(ir.IntType(32)(flag) for flag in (0, 3, 1))])  # to read, keep it, data
        return context.get_dummy_value()

    return types.none(array, index), generate


@intrinsic
def splat(typing, value, like):
    """The same number in all lanes, in the type of `like` (an array or lanes)."""
    lanes = Lanes(like.dtype) if isinstance(like, types.Array) else like

    def generate(context, builder, sig, args):
        number = context.cast(builder, args[0], value, lanes.scalar)
        empty = ir.Constant(context.get_value_type(lanes), ir.Undefined)
        first = builder.insert_element(empty, number, ir.IntType(32)(0))
        return builder.shuffle_vector(first, empty, _constant(ir.VectorType(ir.IntType(32), LANES), 0))

    return lanes(value, like), generate


@intrinsic
def steps(typing, like):
    """0, 1, ... 7 in the type of the array `like`."""

    def generate(context, builder, sig, args):
        return ir.Constant(context.get_value_type(sig.return_type), [float(i) for i in range(LANES)])

    return Lanes(like.dtype)(like), generate


@intrinsic
def where_less(typing, left, right, yes, no):
    """Lane by lane, `yes` where left < right, else `no`."""

    def generate(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered("<", args[0], args[1]), args[2], args[3])

    return left(left, right, yes, no), generate


@intrinsic
def absolute(typing, lanes):
    """Magnitudes."""

    def generate(context, builder, sig, args):
        return _call(builder, "fabs", args[0].type, args)

    return lanes(lanes), generate


@intrinsic
def any_positive(typing, lanes):
    """Whether some lane is above zero."""

    def generate(context, builder, sig, args):
        mask = builder.fcmp_ordered(">", args[0], _constant(args[0].type, 0.0))
        return builder.icmp_unsigned("!=", builder.bitcast(mask, ir.IntType(LANES)), ir.IntType(LANES)(0))

    return types.boolean(lanes), generate


@intrinsic
def total(typing, lanes):
    """Sum over the lanes, added pairwise."""

    def generate(context, builder, sig, args):
        scalar = args[0].type.element
        kind = "f32" if isinstance(scalar, ir.FloatType) else "f64"
        name = f"llvm.vector.reduce.fadd.v{LANES}{kind}"
        type_ = ir.FunctionType(scalar, [scalar, args[0].type])
        reduce = cgutils.get_or_insert_function(builder.module, type_, name)
        return builder.call(reduce, [scalar(-0.0), args[0]], fastmath=("reassoc",))

    return lanes.scalar(lanes), generate


@intrinsic
def _nearest_whole(typing, lanes):
    def generate(context, builder, sig, args):
        return _call(builder, "rint", args[0].type, args)

    return lanes(lanes), generate


@intrinsic
def _power_of_two(typing, whole):
    """2^n for whole n, by writing the exponent's bits."""

    def generate(context, builder, sig, args):
        single = isinstance(args[0].type.element, ir.FloatType)
        bits, mantissa, bias = (32, 23, 127) if single else (64, 52, 1023)
        integers = ir.VectorType(ir.IntType(bits), LANES)
        biased = builder.add(builder.fptosi(args[0], integers), _constant(integers, bias))
        return builder.bitcast(builder.shl(biased, _constant(integers, mantissa)), args[0].type)

    return whole(whole), generate


def _exp2_terms(lanes):
    """Stands for the coefficients that the type needs; chosen while compiling."""


@overload(_exp2_terms)
def _choose_exp2_terms(lanes):
    terms = EXP2_TERMS_32 if lanes.scalar == types.float32 else EXP2_TERMS_64
    return lambda lanes: terms


@njit(error_model="numpy")
def exp2(lanes):
    """2 to the power of each lane from -120 to 120, relative error below 1e-7 (float32) and 1e-15 (float64)."""
    whole = _nearest_whole(lanes)
    fraction = lanes - whole
    result = splat(0.0, lanes)
    for term in _exp2_terms(lanes):
        result = result * fraction + splat(term, lanes)
    return result * _power_of_two(whole)
