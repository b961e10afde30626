// The parts that kernels on the host share: the running block, the list of kernels, the tensor cores' arithmetic.
#include "cuda_on_host.h"

extern "C" {

__thread simulator_context simulator_current;

static const simulator_kernel* kernels = nullptr;

// Called for each kernel before main, on the only thread.
int simulator_register(simulator_kernel* kernel) {
    kernel->next = kernels;
    kernels = kernel;
    return 0;
}

const simulator_kernel* simulator_kernels() {
    return kernels;
}

simulator_context* simulator_context_of_thread() {
    return &simulator_current;
}

// The processor's extensions that the kernels may use, by Rust's names.
const char* simulator_compiled_for() {
    return ""
#ifdef __SSE2__
           "sse2 "
#endif
#ifdef __SSE4_2__
           "sse4.2 "
#endif
#ifdef __POPCNT__
           "popcnt "
#endif
#ifdef __AVX__
           "avx "
#endif
#ifdef __F16C__
           "f16c "
#endif
#ifdef __AVX2__
           "avx2 "
#endif
#ifdef __FMA__
           "fma "
#endif
#ifdef __BMI__
           "bmi1 "
#endif
#ifdef __BMI2__
           "bmi2 "
#endif
#ifdef __LZCNT__
           "lzcnt "
#endif
#ifdef __AVX512F__
           "avx512f "
#endif
#ifdef __AVX512CD__
           "avx512cd "
#endif
#ifdef __AVX512BW__
           "avx512bw "
#endif
#ifdef __AVX512DQ__
           "avx512dq "
#endif
#ifdef __AVX512VL__
           "avx512vl "
#endif
#ifdef __AVX512IFMA__
           "avx512ifma "
#endif
#ifdef __AVX512VBMI__
           "avx512vbmi "
#endif
#ifdef __AVX512VBMI2__
           "avx512vbmi2 "
#endif
#ifdef __AVX512VNNI__
           "avx512vnni "
#endif
#ifdef __AVX512BITALG__
           "avx512bitalg "
#endif
#ifdef __AVX512VPOPCNTDQ__
           "avx512vpopcntdq "
#endif
#ifdef __AVX512BF16__
           "avx512bf16 "
#endif
#ifdef __GFNI__
           "gfni "
#endif
#ifdef __VAES__
           "vaes "
#endif
#ifdef __VPCLMULQDQ__
           "vpclmulqdq "
#endif
        ;
}

}  // extern "C"

namespace simulator {

static float low(uint32_t pair) {
    return __uint_as_float(pair << 16);
}

static float high(uint32_t pair) {
    return __uint_as_float(pair & 0xffff0000u);
}

static double from_bits(uint64_t bits) {
    double value;
    memcpy(&value, &bits, 8);
    return value;
}

static uint64_t to_bits(double value) {
    uint64_t bits;
    memcpy(&bits, &value, 8);
    return bits;
}

// d += a b for a row a [PRODUCTS] and b [PRODUCTS, 8], as a tensor core adds (Fasi, Higham, Mikaitis and Pranesh 2021,
// Numerical behavior of NVIDIA tensor cores): the products are exact. They and d are truncated one bit below the last
// place of the largest of them, and their sum is truncated to f32.
template <int PRODUCTS>
static void add_products(float (&d)[8], const float* a, const float (*b)[8]) {
    double terms[PRODUCTS + 1][8], largest[8], whole[8];
    for (int j = 0; j < 8; j++) terms[PRODUCTS][j] = whole[j] = d[j], largest[j] = fabs(whole[j]);
    for (int k = 0; k < PRODUCTS; k++) {
        for (int j = 0; j < 8; j++) {
            double term = static_cast<double>(a[k]) * static_cast<double>(b[k][j]);
            terms[k][j] = term;
            whole[j] += term;
            largest[j] = fabs(term) > largest[j] ? fabs(term) : largest[j];
        }
    }
    const uint64_t places = 24, exponent_of_one = 1023, cut_bits = (1ull << 29) - 1;
    for (int j = 0; j < 8; j++) {
        uint64_t exponent = to_bits(largest[j]) >> 52;
        // Zero has no last place. Products of f32 are far above this.
        exponent = exponent < 2 * places ? 2 * places : exponent;
        double per_unit = from_bits((2 * exponent_of_one - exponent + places) << 52);
        uint32_t units = 0;
        for (int k = 0; k <= PRODUCTS; k++) units += static_cast<uint32_t>(static_cast<int32_t>(terms[k][j] * per_unit));
        double sum = static_cast<int32_t>(units) * from_bits((exponent - places) << 52);
        float cut = static_cast<float>(from_bits(to_bits(sum) & ~cut_bits));
        d[j] = isfinite(whole[j]) ? cut : static_cast<float>(whole[j]);
    }
}

// d += a b for row-major a [16, K] and b [K, 8]. An A100 adds half of the products at a time.
template <int K>
static void multiply(void** records, const float (&a)[16][K], const float (&b)[K][8]) {
    float d[16][8];
    // PTX ISA, accumulators of m16n8: lane 4 g + q holds columns 2 q and 2 q + 1 of rows g and g + 8.
    for (int lane = 0; lane < 32; lane++) {
        const float* own = static_cast<Fragments*>(records[lane])->d;
        int g = lane / 4, q = lane % 4;
        d[g][2 * q] = own[0], d[g][2 * q + 1] = own[1], d[g + 8][2 * q] = own[2], d[g + 8][2 * q + 1] = own[3];
    }
    for (int i = 0; i < 16; i++) {
        for (int k = 0; k < K; k += K / 2) add_products<K / 2>(d[i], a[i] + k, b + k);
    }
    for (int lane = 0; lane < 32; lane++) {
        float* own = static_cast<Fragments*>(records[lane])->d;
        int g = lane / 4, q = lane % 4;
        own[0] = d[g][2 * q], own[1] = d[g][2 * q + 1], own[2] = d[g + 8][2 * q], own[3] = d[g + 8][2 * q + 1];
    }
}

// PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type", .bf16.
void multiply_bf16(void** records, uint32_t) {
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; lane++) {
        const Fragments* own = static_cast<Fragments*>(records[lane]);
        int g = lane / 4, q = lane % 4;
        for (int half = 0; half < 2; half++) {
            int k = 2 * q + 8 * half;
            a[g][k] = low(own->a[2 * half]), a[g][k + 1] = high(own->a[2 * half]);
            a[g + 8][k] = low(own->a[2 * half + 1]), a[g + 8][k + 1] = high(own->a[2 * half + 1]);
            b[k][g] = low(own->b[half]), b[k + 1][g] = high(own->b[half]);
        }
    }
    multiply(records, a, b);
}

// PTX ISA, "Matrix Fragments for mma.m16n8k8", .tf32: the lower 13 bits are ignored.
void multiply_tf32(void** records, uint32_t) {
    float a[16][8], b[8][8];
    for (int lane = 0; lane < 32; lane++) {
        const Fragments* own = static_cast<Fragments*>(records[lane]);
        int g = lane / 4, q = lane % 4;
        auto number = [](uint32_t bits) { return __uint_as_float(bits & 0xffffe000u); };
        a[g][q] = number(own->a[0]), a[g + 8][q] = number(own->a[1]);
        a[g][q + 4] = number(own->a[2]), a[g + 8][q + 4] = number(own->a[3]);
        b[q][g] = number(own->b[0]), b[q + 4][g] = number(own->b[1]);
    }
    multiply(records, a, b);
}

}  // namespace simulator
