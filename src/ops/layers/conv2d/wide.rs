//! The inner loops in f32, with vector intrinsics: compilers do not keep the sums of the generic loops in registers.

use std::arch::x86_64::*;

use super::tile::{COLUMNS, OUTSIDE, ROWS, Tap};

macro_rules! wide {
    ($module:ident, $features:literal, $rows:literal, $vector:ident, $lanes:literal, $zero:ident, $set:ident, $load:ident, $store:ident, $fma:ident) => {
        pub(super) mod $module {
            use super::*;

            pub(in super::super) const VECTORS: usize = COLUMNS / $lanes;

            /// `sums[row] = sum over taps and c of source[row's offset + c] panel[tap, c]`, in the first `N` vectors.
            #[target_feature(enable = $features)]
            pub(in super::super) fn add_taps<const N: usize>(
                source: &[f32],
                zeros: &[f32],
                taps: &[Tap],
                panel: &[[f32; COLUMNS]],
                sums: &mut [[f32; COLUMNS]; ROWS],
            ) {
                let depth = zeros.len();
                for first in (0..ROWS).step_by($rows) {
                    let mut tile = [[$zero(); N]; $rows];
                    for tap in taps {
                        let weights = &panel[tap.number * depth..][..depth];
                        let mut pointers = [zeros.as_ptr(); $rows];
                        for (pointer, offset) in pointers.iter_mut().zip(&tap.offsets[first..]) {
                            if *offset != OUTSIDE {
                                *pointer = source[*offset..*offset + depth].as_ptr();
                            }
                        }
                        for (c, weights) in weights.iter().enumerate() {
                            let weights = load_columns::<N>(weights);
                            for row in 0..$rows {
                                // SAFETY: every pointer is that of a slice of `depth` elements.
                                let x = $set(unsafe { *pointers[row].add(c) });
                                for vector in 0..N {
                                    tile[row][vector] = $fma(x, weights[vector], tile[row][vector]);
                                }
                            }
                        }
                    }
                    store_sums(&tile, &mut sums[first..]);
                }
            }

            /// `sums[row] += sum over t of left[offsets[row] + t step] right[t pitch]`, in the first `N` vectors.
            #[target_feature(enable = $features)]
            pub(in super::super) fn add_strided<const N: usize>(
                (left, offsets, step): (&[f32], &[usize; ROWS], usize),
                (right, pitch): (&[f32], usize),
                length: usize,
                sums: &mut [[f32; COLUMNS]; ROWS],
            ) {
                assert!(length > 0 && (length - 1) * pitch + N * $lanes <= right.len());
                assert!(offsets.iter().all(|offset| offset + (length - 1) * step < left.len()));
                for first in (0..ROWS).step_by($rows) {
                    let mut tile = load_sums::<N>(&sums[first..]);
                    let mut pointers = [left.as_ptr(); $rows];
                    for (pointer, offset) in pointers.iter_mut().zip(&offsets[first..]) {
                        *pointer = left[*offset..].as_ptr();
                    }
                    for t in 0..length {
                        // SAFETY: `N` vectors from here on lie in `right`, asserted above.
                        let right = unsafe { load_vectors::<N>(right.as_ptr().add(t * pitch)) };
                        for row in 0..$rows {
                            // SAFETY: `left` has this element, asserted above.
                            let x = $set(unsafe { *pointers[row].add(t * step) });
                            for vector in 0..N {
                                tile[row][vector] = $fma(x, right[vector], tile[row][vector]);
                            }
                        }
                    }
                    store_sums(&tile, &mut sums[first..]);
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
                    let mut tile = load_sums::<VECTORS>(&sums[first..]);
                    for (left, right) in left.iter().zip(right) {
                        let right = load_columns::<VECTORS>(right);
                        for row in 0..$rows {
                            let x = $set(left[first + row]);
                            for vector in 0..VECTORS {
                                tile[row][vector] = $fma(x, right[vector], tile[row][vector]);
                            }
                        }
                    }
                    store_sums(&tile, &mut sums[first..]);
                }
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn load_columns<const N: usize>(from: &[f32; COLUMNS]) -> [$vector; N] {
                const { assert!(N <= VECTORS) };
                // SAFETY: `from` has the elements of `VECTORS` vectors.
                unsafe { load_vectors(from.as_ptr()) }
            }

            /// # Safety
            /// `from` must point to the elements of `N` vectors.
            #[inline]
            #[target_feature(enable = $features)]
            // SAFETY: the doc comment says what the caller must promise.
            unsafe fn load_vectors<const N: usize>(from: *const f32) -> [$vector; N] {
                let mut vectors = [$zero(); N];
                for (index, vector) in vectors.iter_mut().enumerate() {
                    // SAFETY: the caller's promise.
                    *vector = unsafe { $load(from.add(index * $lanes)) };
                }
                vectors
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn load_sums<const N: usize>(from: &[[f32; COLUMNS]]) -> [[$vector; N]; $rows] {
                let mut tile = [[$zero(); N]; $rows];
                for row in 0..$rows {
                    tile[row] = load_columns(&from[row]);
                }
                tile
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn store_sums<const N: usize>(tile: &[[$vector; N]; $rows], to: &mut [[f32; COLUMNS]]) {
                for row in 0..$rows {
                    let (to, _) = to[row].as_chunks_mut::<$lanes>();
                    for vector in 0..N {
                        // SAFETY: `to[vector]` has the vector's number of elements.
                        unsafe { $store(to[vector].as_mut_ptr(), tile[row][vector]) };
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
