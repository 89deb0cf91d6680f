"""ort_api.h, as Cython sees it."""

from libc.stdint cimport int64_t


cdef extern from "dlfcn.h":
    char *dlerror()


cdef extern from "ort_api.h" nogil:
    enum:
        EDGEML_ORT_VERSION, EDGEML_ORT_OPENED, EDGEML_ORT_NO_LIBRARY, EDGEML_ORT_NO_ENTRY
        ORT_LOG_FATAL, ORT_SEQUENTIAL, ORT_OPTIMIZE_ALL, ORT_ALLOCATOR_DEVICE, ORT_MEMORY_DEFAULT, ORT_KIND_TENSOR
    struct OrtStatus
    struct OrtEnv
    struct OrtSession
    struct OrtSessionOptions
    struct OrtRunOptions
    struct OrtIoBinding
    struct OrtValue
    struct OrtMemoryInfo
    struct OrtAllocator
    struct OrtTypeInfo
    struct OrtTensorInfo
    struct edgeml_ort:
        const char *(*get_error_message)(const OrtStatus *) noexcept nogil
        OrtStatus *(*create_env)(int, const char *, OrtEnv **) noexcept nogil
        OrtStatus *(*disable_telemetry)(const OrtEnv *) noexcept nogil
        OrtStatus *(*create_session_from_array)(
            const OrtEnv *, const void *, size_t, const OrtSessionOptions *, OrtSession **) noexcept nogil
        OrtStatus *(*run)(
            OrtSession *, const OrtRunOptions *, const char **, const OrtValue **, size_t, const char **, size_t,
            OrtValue **) noexcept nogil
        OrtStatus *(*create_session_options)(OrtSessionOptions **) noexcept nogil
        OrtStatus *(*set_execution_mode)(OrtSessionOptions *, int) noexcept nogil
        OrtStatus *(*disable_mem_pattern)(OrtSessionOptions *) noexcept nogil
        OrtStatus *(*disable_cpu_mem_arena)(OrtSessionOptions *) noexcept nogil
        OrtStatus *(*set_graph_optimization)(OrtSessionOptions *, int) noexcept nogil
        OrtStatus *(*set_intra_op_threads)(OrtSessionOptions *, int) noexcept nogil
        OrtStatus *(*set_inter_op_threads)(OrtSessionOptions *, int) noexcept nogil
        OrtStatus *(*session_input_count)(const OrtSession *, size_t *) noexcept nogil
        OrtStatus *(*session_output_count)(const OrtSession *, size_t *) noexcept nogil
        OrtStatus *(*session_input_type)(const OrtSession *, size_t, OrtTypeInfo **) noexcept nogil
        OrtStatus *(*session_output_type)(const OrtSession *, size_t, OrtTypeInfo **) noexcept nogil
        OrtStatus *(*session_input_name)(const OrtSession *, size_t, OrtAllocator *, char **) noexcept nogil
        OrtStatus *(*session_output_name)(const OrtSession *, size_t, OrtAllocator *, char **) noexcept nogil
        OrtStatus *(*create_run_options)(OrtRunOptions **) noexcept nogil
        OrtStatus *(*create_tensor)(OrtAllocator *, const int64_t *, size_t, int, OrtValue **) noexcept nogil
        OrtStatus *(*create_tensor_over)(
            const OrtMemoryInfo *, void *, size_t, const int64_t *, size_t, int, OrtValue **) noexcept nogil
        OrtStatus *(*tensor_data)(OrtValue *, void **) noexcept nogil
        OrtStatus *(*fill_strings)(OrtValue *, const char **, size_t) noexcept nogil
        OrtStatus *(*strings_length)(const OrtValue *, size_t *) noexcept nogil
        OrtStatus *(*strings_content)(const OrtValue *, void *, size_t, size_t *, size_t) noexcept nogil
        OrtStatus *(*tensor_of_type_info)(const OrtTypeInfo *, const OrtTensorInfo **) noexcept nogil
        OrtStatus *(*kind_of_type_info)(const OrtTypeInfo *, int *) noexcept nogil
        OrtStatus *(*element_type)(const OrtTensorInfo *, int *) noexcept nogil
        OrtStatus *(*dimensions_count)(const OrtTensorInfo *, size_t *) noexcept nogil
        OrtStatus *(*dimensions)(const OrtTensorInfo *, int64_t *, size_t) noexcept nogil
        OrtStatus *(*element_count)(const OrtTensorInfo *, size_t *) noexcept nogil
        OrtStatus *(*tensor_type_and_shape)(const OrtValue *, OrtTensorInfo **) noexcept nogil
        OrtStatus *(*create_cpu_memory_info)(int, int, OrtMemoryInfo **) noexcept nogil
        OrtStatus *(*allocator_free)(OrtAllocator *, void *) noexcept nogil
        OrtStatus *(*default_allocator)(OrtAllocator **) noexcept nogil
        void (*release_env)(OrtEnv *) noexcept nogil
        void (*release_status)(OrtStatus *) noexcept nogil
        void (*release_memory_info)(OrtMemoryInfo *) noexcept nogil
        void (*release_session)(OrtSession *) noexcept nogil
        void (*release_value)(OrtValue *) noexcept nogil
        void (*release_run_options)(OrtRunOptions *) noexcept nogil
        void (*release_type_info)(OrtTypeInfo *) noexcept nogil
        void (*release_tensor_info)(OrtTensorInfo *) noexcept nogil
        void (*release_session_options)(OrtSessionOptions *) noexcept nogil
        OrtStatus *(*add_session_config_entry)(OrtSessionOptions *, const char *, const char *) noexcept nogil
        OrtStatus *(*run_with_binding)(OrtSession *, const OrtRunOptions *, const OrtIoBinding *) noexcept nogil
        OrtStatus *(*create_io_binding)(OrtSession *, OrtIoBinding **) noexcept nogil
        void (*release_io_binding)(OrtIoBinding *) noexcept nogil
        OrtStatus *(*bind_input)(OrtIoBinding *, const char *, const OrtValue *) noexcept nogil
        OrtStatus *(*bind_output)(OrtIoBinding *, const char *, const OrtValue *) noexcept nogil
    int edgeml_ort_open(const char *path, edgeml_ort *out, const char **version) noexcept nogil
