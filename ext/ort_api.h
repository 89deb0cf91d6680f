/* The part of ONNX Runtime's C interface that onnx_session.pyx calls.
 *
 * The library exports one symbol, OrtGetApiBase. It leads to a table of function pointers that only ever grows at its
 * end: a function keeps its position for good, and a table asked for as version N holds every position of version N.
 * So positions are enough, and no header of ONNX Runtime is needed to build edgeml. The positions were counted in
 * onnxruntime's include/onnxruntime/core/session/onnxruntime_c_api.h (struct OrtApi, first member = 0).
 *
 * Every function that gives an OrtStatus gives NULL where all went well; any other status must be released.
 */
#ifndef EDGEML_ORT_API_H
#define EDGEML_ORT_API_H

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Version 5 came with onnxruntime 1.5. It is the first that reaches to position 149, so it has all that stands below
 * (version 4 ends at position 126). */
#define EDGEML_ORT_VERSION 5

typedef struct OrtStatus OrtStatus;
typedef struct OrtEnv OrtEnv;
typedef struct OrtSession OrtSession;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtRunOptions OrtRunOptions;
typedef struct OrtIoBinding OrtIoBinding;
typedef struct OrtValue OrtValue;
typedef struct OrtMemoryInfo OrtMemoryInfo;
typedef struct OrtAllocator OrtAllocator;
typedef struct OrtTypeInfo OrtTypeInfo;
typedef struct OrtTensorInfo OrtTensorInfo;

/* Values of the enumerations that the functions take and give. */
enum {
    ORT_LOG_FATAL = 4,
    ORT_SEQUENTIAL = 0,
    ORT_OPTIMIZE_ALL = 99,
    ORT_ALLOCATOR_DEVICE = 0,
    ORT_MEMORY_DEFAULT = 0,
    ORT_KIND_TENSOR = 1,
};

/* Position, result, our name for it, arguments. */
#define EDGEML_ORT_FUNCTIONS(F) \
    F(2, const char *, get_error_message, (const OrtStatus *)) \
    F(3, OrtStatus *, create_env, (int log_level, const char *log_id, OrtEnv **)) \
    F(6, OrtStatus *, disable_telemetry, (const OrtEnv *)) \
    F(8, OrtStatus *, create_session_from_array, (const OrtEnv *, const void *, size_t, \
       const OrtSessionOptions *, OrtSession **)) \
    F(9, OrtStatus *, run, (OrtSession *, const OrtRunOptions *, const char *const *, const OrtValue *const *, \
       size_t, const char *const *, size_t, OrtValue **)) \
    F(10, OrtStatus *, create_session_options, (OrtSessionOptions **)) \
    F(13, OrtStatus *, set_execution_mode, (OrtSessionOptions *, int)) \
    F(17, OrtStatus *, disable_mem_pattern, (OrtSessionOptions *)) \
    F(19, OrtStatus *, disable_cpu_mem_arena, (OrtSessionOptions *)) \
    F(23, OrtStatus *, set_graph_optimization, (OrtSessionOptions *, int)) \
    F(24, OrtStatus *, set_intra_op_threads, (OrtSessionOptions *, int)) \
    F(25, OrtStatus *, set_inter_op_threads, (OrtSessionOptions *, int)) \
    F(30, OrtStatus *, session_input_count, (const OrtSession *, size_t *)) \
    F(31, OrtStatus *, session_output_count, (const OrtSession *, size_t *)) \
    F(33, OrtStatus *, session_input_type, (const OrtSession *, size_t, OrtTypeInfo **)) \
    F(34, OrtStatus *, session_output_type, (const OrtSession *, size_t, OrtTypeInfo **)) \
    F(36, OrtStatus *, session_input_name, (const OrtSession *, size_t, OrtAllocator *, char **)) \
    F(37, OrtStatus *, session_output_name, (const OrtSession *, size_t, OrtAllocator *, char **)) \
    F(39, OrtStatus *, create_run_options, (OrtRunOptions **)) \
    F(48, OrtStatus *, create_tensor, (OrtAllocator *, const int64_t *, size_t, int, OrtValue **)) \
    F(49, OrtStatus *, create_tensor_over, (const OrtMemoryInfo *, void *, size_t, const int64_t *, size_t, \
       int, OrtValue **)) \
    F(51, OrtStatus *, tensor_data, (OrtValue *, void **)) \
    F(52, OrtStatus *, fill_strings, (OrtValue *, const char *const *, size_t)) \
    F(53, OrtStatus *, strings_length, (const OrtValue *, size_t *)) \
    F(54, OrtStatus *, strings_content, (const OrtValue *, void *, size_t, size_t *, size_t)) \
    F(55, OrtStatus *, tensor_of_type_info, (const OrtTypeInfo *, const OrtTensorInfo **)) \
    F(56, OrtStatus *, kind_of_type_info, (const OrtTypeInfo *, int *)) \
    F(60, OrtStatus *, element_type, (const OrtTensorInfo *, int *)) \
    F(61, OrtStatus *, dimensions_count, (const OrtTensorInfo *, size_t *)) \
    F(62, OrtStatus *, dimensions, (const OrtTensorInfo *, int64_t *, size_t)) \
    F(64, OrtStatus *, element_count, (const OrtTensorInfo *, size_t *)) \
    F(65, OrtStatus *, tensor_type_and_shape, (const OrtValue *, OrtTensorInfo **)) \
    F(69, OrtStatus *, create_cpu_memory_info, (int, int, OrtMemoryInfo **)) \
    F(76, OrtStatus *, allocator_free, (OrtAllocator *, void *)) \
    F(78, OrtStatus *, default_allocator, (OrtAllocator **)) \
    F(92, void, release_env, (OrtEnv *)) \
    F(93, void, release_status, (OrtStatus *)) \
    F(94, void, release_memory_info, (OrtMemoryInfo *)) \
    F(95, void, release_session, (OrtSession *)) \
    F(96, void, release_value, (OrtValue *)) \
    F(97, void, release_run_options, (OrtRunOptions *)) \
    F(98, void, release_type_info, (OrtTypeInfo *)) \
    F(99, void, release_tensor_info, (OrtTensorInfo *)) \
    F(100, void, release_session_options, (OrtSessionOptions *)) \
    F(130, OrtStatus *, add_session_config_entry, (OrtSessionOptions *, const char *, const char *)) \
    F(133, OrtStatus *, run_with_binding, (OrtSession *, const OrtRunOptions *, const OrtIoBinding *)) \
    F(134, OrtStatus *, create_io_binding, (OrtSession *, OrtIoBinding **)) \
    F(135, void, release_io_binding, (OrtIoBinding *)) \
    F(136, OrtStatus *, bind_input, (OrtIoBinding *, const char *, const OrtValue *)) \
    F(137, OrtStatus *, bind_output, (OrtIoBinding *, const char *, const OrtValue *))

typedef struct edgeml_ort {
#define MEMBER(slot, result, name, arguments) result(*name) arguments;
    EDGEML_ORT_FUNCTIONS(MEMBER)
#undef MEMBER
} edgeml_ort;

typedef struct edgeml_ort_base {
    const void *const *(*get_api)(uint32_t version);
    const char *(*get_version)(void);
} edgeml_ort_base;

/* What edgeml_ort_open says: found, no such library, no ONNX Runtime in it, one that is too old. */
enum { EDGEML_ORT_OPENED, EDGEML_ORT_NO_LIBRARY, EDGEML_ORT_NO_ENTRY, EDGEML_ORT_TOO_OLD };

/* Opens a library and fills `out`; `version` gets the library's own version, which lives as long as the library.
 * A library that serves is never closed: ONNX Runtime keeps thread-local state that must not lose its code. */
static inline int edgeml_ort_open(const char *path, edgeml_ort *out, const char **version)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return EDGEML_ORT_NO_LIBRARY;
    const edgeml_ort_base *(*get_base)(void) = NULL;
    void *symbol = dlsym(library, "OrtGetApiBase");
    memcpy(&get_base, &symbol, sizeof(void *));
    const edgeml_ort_base *base = get_base == NULL ? NULL : get_base();
    if (base == NULL) {
        dlclose(library);
        return EDGEML_ORT_NO_ENTRY;
    }
    *version = base->get_version();
    const void *const *table = base->get_api(EDGEML_ORT_VERSION);
    if (table == NULL)
        return EDGEML_ORT_TOO_OLD;
#define TAKE(slot, result, name, arguments) memcpy(&out->name, &table[slot], sizeof(void *));
    EDGEML_ORT_FUNCTIONS(TAKE)
#undef TAKE
    return EDGEML_ORT_OPENED;
}

#endif
