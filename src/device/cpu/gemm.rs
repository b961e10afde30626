//! Matrix products on one thread, by the `gemm` crates. For several threads the caller cuts the output first.

use super::Float;
use super::product::GemmJob;

/// A matrix in a slice.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    elements: &'a [T],
    strides: (usize, usize),
}

impl<'a, T> Matrix<'a, T> {
    /// Rows of contiguous elements, `stride` apart.
    pub fn rows(elements: &'a [T], stride: usize) -> Self {
        Matrix { elements, strides: (stride, 1) }
    }

    /// The same matrix with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Matrix { elements: self.elements, strides: (self.strides.1, self.strides.0) }
    }

    fn span(&self, rows: usize, columns: usize) -> usize {
        (rows - 1) * self.strides.0 + (columns - 1) * self.strides.1 + 1
    }

    fn isize_strides(&self) -> (isize, isize) {
        (self.strides.0 as isize, self.strides.1 as isize)
    }
}

/// `C[m, n] = A[m, k] B[k, n]`, or `C += A B`. C's rows are `c_stride` elements apart. Panics where a slice is too
/// short for its matrix.
pub(crate) fn gemm<T: Float>(
    [m, n, k]: [usize; 3],
    a: Matrix<T>,
    b: Matrix<T>,
    c: &mut [T],
    c_stride: usize,
    accumulate: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(
        c.len() >= (m - 1) * c_stride + n && c_stride >= n,
        "gemm: C is too short for [{m}, {n}]"
    );
    if k == 0 {
        if !accumulate {
            c.chunks_mut(c_stride).take(m).for_each(|row| row[..n].fill(T::ZERO));
        }
        return;
    }
    assert!(a.elements.len() >= a.span(m, k), "gemm: A is too short for [{m}, {k}]");
    assert!(b.elements.len() >= b.span(k, n), "gemm: B is too short for [{k}, {n}]");
    let job = GemmJob {
        m,
        n,
        k,
        a: a.elements.as_ptr(),
        a_strides: a.isize_strides(),
        b: b.elements.as_ptr(),
        b_strides: b.isize_strides(),
        c: c.as_mut_ptr(),
        c_stride: c_stride as isize,
        accumulate,
    };
    // SAFETY: the assertions above put every element of the three matrices inside its slice, and `c` is borrowed
    // mutably, so it overlaps neither `a` nor `b`.
    unsafe { T::gemm(job) }
}
