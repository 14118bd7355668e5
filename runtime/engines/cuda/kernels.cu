// What lies between two graphs, on the device: rows to their ring's places, tokens to their embedding rows, the look for
// a number that is not finite. kernels.ptx is made from this file (python -m tests.runtime.engines.cuda_kernels.compile);
// a device needs its driver alone.
//
// Compiled as C++ for a CPU too (tests/runtime/engines/cuda_kernels/), where the threads run one after another: so no
// kernel here waits for another thread, and every loop strides over the whole grid.
//
// Bytes are moved as they are: a ring may hold any dtype. Sizes are 64 bits wide, for a ring may be larger than 4 GB.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
struct alignas(16) Sixteen { u64 low, high; };

#ifndef EVERY  // the CPU's header says it otherwise
#define EVERY(i, count) \
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < (count); i += (u64)gridDim.x * blockDim.x)
#define KERNEL extern "C" __global__ void
#define EXACT_PRODUCT(a, b) __fmul_rn(a, b)
#define FLOAT_OF_BITS(bits) __uint_as_float(bits)
#endif

// ---- rows to their places ----
//
// A stack is ``count`` buffers [outer, places, row_bytes], ``step`` bytes apart. Of each buffer of ``appended``, rows
// ``start`` to ``start + rows`` go to the places of the same buffer of ``ring`` from first[0] + place on. Where they do
// not fit, nothing is written, and ``fault`` says so: the host wrote ``first`` and must hear of it.
template <typename Piece>
__device__ void store(u8* ring, u64 ring_step, const u8* appended, u64 appended_step, u64 count, u64 outer, u64 places,
                      u64 rows_there, u64 row_bytes, u64 start, u64 rows, const int* first, long long place, int* fault)
{
    long long to = (long long)first[0] + place;
    if (to < 0 || (u64)to + rows > places) {
        *fault = 1;
        return;
    }
    u64 pieces = rows * row_bytes / sizeof(Piece);  // of one stretch: the rows of one buffer at one ``outer`` lie together
    EVERY(i, count * outer * pieces) {
        u64 piece = i % pieces, stretch = i / pieces;
        u64 row = stretch % outer, buffer = stretch / outer;
        const u8* from = appended + buffer * appended_step + (row * rows_there + start) * row_bytes;
        u8* into = ring + buffer * ring_step + (row * places + (u64)to) * row_bytes;
        ((Piece*)into)[piece] = ((const Piece*)from)[piece];
    }
}

#define STORE(bytes, Piece)                                                                                           \
    KERNEL store_##bytes(u8* ring, u64 ring_step, const u8* appended, u64 appended_step, u64 count, u64 outer,         \
                         u64 places, u64 rows_there, u64 row_bytes, u64 start, u64 rows, const int* first,             \
                         long long place, int* fault)                                                                  \
    {                                                                                                                  \
        store<Piece>(ring, ring_step, appended, appended_step, count, outer, places, rows_there, row_bytes, start,     \
                     rows, first, place, fault);                                                                       \
    }

STORE(16, Sixteen)
STORE(4, u32)
STORE(1, u8)

// ---- tokens to their embedding rows ----
//
// ``table`` [rows, width], ``scales`` [rows] (of int8 alone), ``tokens`` [n], ``out`` [n, width] float32. A token that
// the table does not have gives zeros: whoever chose it looks at it after the play.
__device__ float of_half(u16 bits)
{
    // The 65536 values that there are, exactly; a small one (exponent 0) is a whole number of 2^-24.
    u32 sign = (u32)(bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
    if (exponent == 0) {
        float small = EXACT_PRODUCT((float)fraction, FLOAT_OF_BITS(0x33800000u));
        return sign ? -small : small;
    }
    if (exponent == 31) return FLOAT_OF_BITS(sign | 0x7f800000u | fraction << 13);
    return FLOAT_OF_BITS(sign | (exponent + 112) << 23 | fraction << 13);
}

KERNEL look_up_f32(const float* table, const float* scales, u64 rows, u64 width, const int* tokens, u64 n, float* out)
{
    EVERY(i, n * width) {
        int token = tokens[i / width];
        out[i] = token >= 0 && (u64)token < rows ? table[(u64)token * width + i % width] : 0.0f;
    }
}

KERNEL look_up_f16(const u16* table, const float* scales, u64 rows, u64 width, const int* tokens, u64 n, float* out)
{
    EVERY(i, n * width) {
        int token = tokens[i / width];
        out[i] = token >= 0 && (u64)token < rows ? of_half(table[(u64)token * width + i % width]) : 0.0f;
    }
}

KERNEL look_up_i8(const signed char* table, const float* scales, u64 rows, u64 width, const int* tokens, u64 n,
                  float* out)
{
    EVERY(i, n * width) {
        int token = tokens[i / width];
        out[i] = token >= 0 && (u64)token < rows
                     ? EXACT_PRODUCT((float)table[(u64)token * width + i % width], scales[token])
                     : 0.0f;
    }
}

// ---- is every number finite? ----
//
// ``addresses`` [n] and ``counts`` [n] (of numbers, not bytes) say where to look; ``flag`` becomes 1 where one is a NaN
// or an infinity, and is never made 0 here. By bits: an exponent of ones is neither.
__device__ void look_f32(const u32* numbers, u64 count, int* flag)
{
    EVERY(i, count) if ((numbers[i] & 0x7f800000u) == 0x7f800000u) *flag = 1;
}

__device__ void look_f16(const u16* numbers, u64 count, int* flag)
{
    EVERY(i, count) if ((numbers[i] & 0x7c00u) == 0x7c00u) *flag = 1;
}

KERNEL finite_f32(const u64* addresses, const u64* counts, u64 n, int* flag)
{
    for (u64 piece = 0; piece < n; piece++) look_f32((const u32*)addresses[piece], counts[piece], flag);
}

KERNEL finite_f16(const u64* addresses, const u64* counts, u64 n, int* flag)
{
    for (u64 piece = 0; piece < n; piece++) look_f16((const u16*)addresses[piece], counts[piece], flag);
}
