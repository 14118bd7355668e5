// A driver for a computer without one: a libcuda.so.1 that the real cuda-bindings load, with the calls that we make.
//
// It computes at once, in the host's memory; a capture writes calls down and a launch makes them. It checks little: that
// is the Python stand-in's part. What it proves is that the bindings understand us: addresses, sizes, handles, and above
// all the arguments of kernels, which the bindings pack and the kernels' own source unpacks.
#include <dlfcn.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

typedef uint64_t u64;
typedef std::vector<std::function<void()>> Calls;
typedef void (*Launch)(void**, u64);

#define KERNELS(DO) \
    DO(store_16) DO(store_4) DO(store_1) DO(look_up_f32) DO(look_up_f16) DO(look_up_i8) DO(finite_f32) DO(finite_f16)
#define DECLARE(name) extern "C" void launch_##name(void**, u64);
KERNELS(DECLARE)

// How many arguments each takes, all of 8 bytes; a capture copies them.
static int arguments_of(const std::string& name)
{
    return name[0] == 's' ? 14 : name[0] == 'l' ? 7 : 4;
}

#define PAIR(name) {#name, {launch_##name, arguments_of(#name)}},
struct Kernel { Launch launch; int arguments; };
static std::map<std::string, Kernel> kernels = {KERNELS(PAIR)};
static Calls* captured;
static u64 live;  // of memory, graphs, events: what was not given back

enum { SUCCESS = 0, NOT_FOUND = 500 };

static int put(std::function<void()> call)
{
    if (captured)
        captured->push_back(call);
    else
        call();
    return SUCCESS;
}

static void* allocated(size_t size)
{
    live++;
    size_t room = (size + 511) / 512 * 512;
    return memset(aligned_alloc(512, room), 0xA5, room);
}

static int freed(void* memory)
{
    live--;
    free(memory);
    return SUCCESS;
}

#define CALL(name, ...) extern "C" int name(__VA_ARGS__)
// The same under the names of later versions, which the bindings ask for.
#define AS(newer, older) extern "C" __attribute__((alias(#older))) int newer()
#pragma GCC diagnostic ignored "-Wattribute-alias"

CALL(cuGetProcAddress, const char* name, void** found, int, u64, int* status)
{
    Dl_info self;
    dladdr((void*)arguments_of, &self);
    *found = dlsym(dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD), name);
    if (status)
        *status = *found ? 0 : 1;
    return *found ? SUCCESS : NOT_FOUND;
}
AS(cuGetProcAddress_v2, cuGetProcAddress);
extern "C" u64 standing() { return live; }
CALL(cuInit, unsigned) { return SUCCESS; }
CALL(cuDriverGetVersion, int* version) { return *version = 12060, SUCCESS; }
CALL(cuDeviceGetCount, int* count) { return *count = 1, SUCCESS; }
CALL(cuDeviceGet, int* device, int ordinal) { return *device = ordinal, SUCCESS; }
CALL(cuDeviceGetName, char* name, int length, int) { return strncpy(name, "A computer", length), SUCCESS; }
CALL(cuDeviceGetAttribute, int* value, int which, int) { return *value = which == 75 ? 8 : which == 76 ? 7 : 1, SUCCESS; }
CALL(cuDevicePrimaryCtxRetain, void** context, int) { return *context = (void*)1, SUCCESS; }
CALL(cuDevicePrimaryCtxRelease, int) { return SUCCESS; }
AS(cuDevicePrimaryCtxRelease_v2, cuDevicePrimaryCtxRelease);
CALL(cuCtxSetCurrent, void*) { return SUCCESS; }
CALL(cuGetErrorString, int, const char** text) { return *text = "an error", SUCCESS; }

CALL(cuMemAlloc, u64* address, size_t size) { return *address = (u64)allocated(size), SUCCESS; }
AS(cuMemAlloc_v2, cuMemAlloc);
CALL(cuMemFree, u64 address) { return freed((void*)address); }
AS(cuMemFree_v2, cuMemFree);
CALL(cuMemHostAlloc, void** address, size_t size, unsigned) { return *address = allocated(size), SUCCESS; }
CALL(cuMemFreeHost, void* address) { return freed(address); }
CALL(cuMemGetInfo, size_t* free, size_t* total) { return *free = 1 << 30, *total = 2u << 30, SUCCESS; }
AS(cuMemGetInfo_v2, cuMemGetInfo);

static int move(void* to, const void* of, size_t size)
{
    return put([=] { memcpy(to, of, size); });
}
CALL(cuMemcpyHtoDAsync, u64 to, const void* of, size_t size, void*) { return move((void*)to, of, size); }
AS(cuMemcpyHtoDAsync_v2, cuMemcpyHtoDAsync);
CALL(cuMemcpyDtoHAsync, void* to, u64 of, size_t size, void*) { return move(to, (void*)of, size); }
AS(cuMemcpyDtoHAsync_v2, cuMemcpyDtoHAsync);
CALL(cuMemcpyDtoDAsync, u64 to, u64 of, size_t size, void*) { return move((void*)to, (void*)of, size); }
AS(cuMemcpyDtoDAsync_v2, cuMemcpyDtoDAsync);
CALL(cuMemsetD8Async, u64 to, unsigned char value, size_t size, void*)
{
    return put([=] { memset((void*)to, value, size); });
}

CALL(cuStreamCreate, void** stream, unsigned) { return *stream = (void*)2, SUCCESS; }
CALL(cuStreamDestroy, void*) { return SUCCESS; }
AS(cuStreamDestroy_v2, cuStreamDestroy);
CALL(cuStreamSynchronize, void*) { return SUCCESS; }
CALL(cuStreamBeginCapture, void*, int) { return captured = new Calls, SUCCESS; }
AS(cuStreamBeginCapture_v2, cuStreamBeginCapture);
CALL(cuStreamEndCapture, void*, void** graph) { return live++, *graph = captured, captured = nullptr, SUCCESS; }
CALL(cuGraphInstantiateWithFlags, void** made, void* graph, u64)
{
    return live++, *made = new Calls(*(Calls*)graph), SUCCESS;
}
CALL(cuGraphDestroy, void* graph) { return live--, delete (Calls*)graph, SUCCESS; }
CALL(cuGraphExecDestroy, void* graph) { return live--, delete (Calls*)graph, SUCCESS; }
CALL(cuGraphUpload, void*, void*) { return SUCCESS; }
CALL(cuGraphLaunch, void* graph, void*)
{
    for (auto& call : *(Calls*)graph)
        call();
    return SUCCESS;
}

CALL(cuModuleLoadData, void** module, const void* image) { return *module = (void*)image, SUCCESS; }
CALL(cuModuleUnload, void*) { return SUCCESS; }
CALL(cuModuleGetFunction, void** function, void*, const char* name)
{
    auto found = kernels.find(name);
    return found == kernels.end() ? NOT_FOUND : (*function = &found->second, SUCCESS);
}
CALL(cuLaunchKernel, void* function, unsigned grid, unsigned, unsigned, unsigned block, unsigned, unsigned, unsigned,
     void*, void** arguments, void**)
{
    Kernel* kernel = (Kernel*)function;
    std::vector<u64> copies;
    for (int number = 0; number < kernel->arguments; number++)
        copies.push_back(*(u64*)arguments[number]);
    return put([=]() mutable {
        std::vector<void*> pointers;
        for (auto& copy : copies)
            pointers.push_back(&copy);
        kernel->launch(pointers.data(), (u64)grid * block);
    });
}

typedef std::chrono::steady_clock::time_point Time;
CALL(cuEventCreate, void** event, unsigned) { return live++, *event = new Time, SUCCESS; }
CALL(cuEventDestroy, void* event) { return live--, delete (Time*)event, SUCCESS; }
AS(cuEventDestroy_v2, cuEventDestroy);
CALL(cuEventRecord, void* event, void*) { return *(Time*)event = std::chrono::steady_clock::now(), SUCCESS; }
CALL(cuEventElapsedTime, float* ms, void* start, void* end)
{
    return *ms = std::chrono::duration<float, std::milli>(*(Time*)end - *(Time*)start).count(), SUCCESS;
}
AS(cuEventElapsedTime_v2, cuEventElapsedTime);
