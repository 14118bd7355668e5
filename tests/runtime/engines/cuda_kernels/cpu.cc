// The kernels of runtime/engines/cuda/kernels.cu on a CPU: a launch runs every thread of the grid, one after another.
//
// Each kernel is launched as the driver launches it: an array of pointers to its arguments.
#include <cstddef>
#include <cstring>
#include <tuple>
#include <utility>

static unsigned long long the_thread, all_threads;

#define EVERY(i, count) for (u64 i = the_thread; i < (count); i += all_threads)
#define KERNEL extern "C" void
#define __device__ static

static float rounded(float a, float b)
{
    volatile float product = a * b;  // no fused multiply and add
    return product;
}
static float of_bits(unsigned bits)
{
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}
#define EXACT_PRODUCT(a, b) rounded(a, b)
#define FLOAT_OF_BITS(bits) of_bits(bits)

#include "kernels.cu"

template <typename... Arguments, size_t... Numbers>
static void play(void (*kernel)(Arguments...), void** arguments, std::index_sequence<Numbers...>)
{
    kernel(*static_cast<Arguments*>(arguments[Numbers])...);
}

template <typename... Arguments>
static void launch(void (*kernel)(Arguments...), void** arguments, u64 threads)
{
    all_threads = threads;
    for (the_thread = 0; the_thread < threads; the_thread++)
        play(kernel, arguments, std::index_sequence_for<Arguments...>());
}

#define LAUNCH(name) \
    extern "C" void launch_##name(void** arguments, u64 threads) { launch(name, arguments, threads); }

LAUNCH(store_16)
LAUNCH(store_4)
LAUNCH(store_1)
LAUNCH(look_up_f32)
LAUNCH(look_up_f16)
LAUNCH(look_up_i8)
LAUNCH(finite_f32)
LAUNCH(finite_f16)
