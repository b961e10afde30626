//! Run-time shapes of up to six axes.

use std::fmt;

/// The largest number of axes.
pub const MAX_RANK: usize = 6;

/// A tensor's extents, outermost first.
///
/// ```
/// use alrao::Shape;
/// let images = Shape::from([32, 8, 8, 3]);
/// assert_eq!(images.elements(), 6144);
/// assert_eq!((images.rows(), images.columns()), (2048, 3));
/// assert_eq!(images.to_string(), "[32, 8, 8, 3]");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    extents: [usize; MAX_RANK],
    rank: usize,
}

impl Shape {
    /// A shape with the given extents; panics above [`MAX_RANK`] axes.
    pub fn new(extents: &[usize]) -> Self {
        assert!(extents.len() <= MAX_RANK, "shape {extents:?}: at most {MAX_RANK} axes");
        let mut shape = Shape { extents: [1; MAX_RANK], rank: extents.len() };
        shape.extents[..extents.len()].copy_from_slice(extents);
        shape
    }

    /// The extents, outermost first.
    pub fn extents(&self) -> &[usize] {
        &self.extents[..self.rank]
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Number of elements; 1 for a scalar.
    pub fn elements(&self) -> usize {
        self.extents().iter().product()
    }

    /// Extent of the last axis (the channels); 1 for a scalar.
    pub fn columns(&self) -> usize {
        self.extents().last().copied().unwrap_or(1)
    }

    /// Product of all extents but the last; 1 for a scalar.
    pub fn rows(&self) -> usize {
        self.extents()[..self.rank.saturating_sub(1)].iter().product()
    }

    /// The same shape with another last extent.
    pub fn with_columns(&self, columns: usize) -> Self {
        assert!(self.rank > 0, "a scalar has no last axis");
        let mut shape = *self;
        shape.extents[self.rank - 1] = columns;
        shape
    }

    /// The shape that two operands broadcast to, as in NumPy; `None` if they do not match.
    ///
    /// ```
    /// use alrao::Shape;
    /// let (a, b) = (Shape::from([4, 1, 3]), Shape::from([5, 1]));
    /// assert_eq!(a.broadcast(&b), Some(Shape::from([4, 5, 3])));
    /// assert_eq!(a.broadcast(&Shape::from([2])), None);
    /// ```
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.rank.max(other.rank);
        let mut extents = [1; MAX_RANK];
        for (axis, extent) in extents[..rank].iter_mut().enumerate() {
            let (a, b) = (self.extent_from_right(rank, axis), other.extent_from_right(rank, axis));
            *extent = match (a, b) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                _ => return None,
            };
        }
        Some(Shape::new(&extents[..rank]))
    }

    /// The extent at `axis` of this shape padded on the left with ones to `rank` axes.
    pub(crate) fn extent_from_right(&self, rank: usize, axis: usize) -> usize {
        (axis + self.rank).checked_sub(rank).map_or(1, |own| self.extents[own])
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(extents: [usize; N]) -> Self {
        Shape::new(&extents)
    }
}

impl From<&[usize]> for Shape {
    fn from(extents: &[usize]) -> Self {
        Shape::new(extents)
    }
}

impl std::ops::Index<usize> for Shape {
    type Output = usize;
    fn index(&self, axis: usize) -> &usize {
        &self.extents()[axis]
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.extents())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
