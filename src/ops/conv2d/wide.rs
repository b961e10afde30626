//! The inner loops in f32 with the processor's vectors: compilers do not keep the generic loops' sums in registers.

use std::arch::x86_64::*;

use super::kernel::{COLUMNS, ROWS};

macro_rules! wide {
    ($module:ident, $features:literal, $rows:literal, $vector:ident, $lanes:literal, $zero:ident, $set:ident, $load:ident, $store:ident, $fma:ident) => {
        pub(super) mod $module {
            use super::*;

            const VECTORS: usize = COLUMNS / $lanes;

            /// `sums[row] += sum over c of rows[row][c] weights[c]`.
            #[target_feature(enable = $features)]
            pub(in super::super) fn add_tap(
                rows: &[&[f32]; ROWS],
                weights: &[[f32; COLUMNS]],
                sums: &mut [[f32; COLUMNS]; ROWS],
            ) {
                assert!(rows.iter().all(|row| row.len() >= weights.len()));
                for first in (0..ROWS).step_by($rows) {
                    let mut own = load_sums(&sums[first..]);
                    let mut pointers = [rows[0].as_ptr(); $rows];
                    for (pointer, row) in pointers.iter_mut().zip(&rows[first..]) {
                        *pointer = row.as_ptr();
                    }
                    for (c, weights) in weights.iter().enumerate() {
                        let weights = load_columns(weights);
                        for row in 0..$rows {
                            // SAFETY: every row has as many elements as there are weights, asserted above.
                            let x = $set(unsafe { *pointers[row].add(c) });
                            for vector in 0..VECTORS {
                                own[row][vector] = $fma(x, weights[vector], own[row][vector]);
                            }
                        }
                    }
                    store_sums(&own, &mut sums[first..]);
                }
            }

            /// `sums[row] += sum over t of left[t][row] right[t]`.
            #[target_feature(enable = $features)]
            pub(in super::super) fn add_outer(
                left: &[[f32; ROWS]],
                right: &[[f32; COLUMNS]],
                sums: &mut [[f32; COLUMNS]; ROWS],
            ) {
                for first in (0..ROWS).step_by($rows) {
                    let mut own = load_sums(&sums[first..]);
                    for (left, right) in left.iter().zip(right) {
                        let right = load_columns(right);
                        for row in 0..$rows {
                            let x = $set(left[first + row]);
                            for vector in 0..VECTORS {
                                own[row][vector] = $fma(x, right[vector], own[row][vector]);
                            }
                        }
                    }
                    store_sums(&own, &mut sums[first..]);
                }
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn load_columns(from: &[f32; COLUMNS]) -> [$vector; VECTORS] {
                let mut vectors = [$zero(); VECTORS];
                for (vector, from) in vectors.iter_mut().zip(from.as_chunks::<$lanes>().0) {
                    // SAFETY: `from` has the vector's number of elements.
                    *vector = unsafe { $load(from.as_ptr()) };
                }
                vectors
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn load_sums(from: &[[f32; COLUMNS]]) -> [[$vector; VECTORS]; $rows] {
                let mut own = [[$zero(); VECTORS]; $rows];
                for row in 0..$rows {
                    own[row] = load_columns(&from[row]);
                }
                own
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn store_sums(own: &[[$vector; VECTORS]; $rows], to: &mut [[f32; COLUMNS]]) {
                for row in 0..$rows {
                    let (to, _) = to[row].as_chunks_mut::<$lanes>();
                    for vector in 0..VECTORS {
                        // SAFETY: `to[vector]` has the vector's number of elements.
                        unsafe { $store(to[vector].as_mut_ptr(), own[row][vector]) };
                    }
                }
            }
        }
    };
}

wide!(
    avx512,
    "avx2,fma,avx512f,avx512vl,avx512dq,avx512bw",
    8,
    __m512,
    16,
    _mm512_setzero_ps,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_fmadd_ps
);
wide!(
    avx2,
    "avx2,fma",
    2,
    __m256,
    8,
    _mm256_setzero_ps,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_fmadd_ps
);
