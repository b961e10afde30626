//! What a model takes: what data holds, and what an architecture is built for.

/// The kind and shape of one input sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// An image, channels-last.
    Image {
        /// Rows of pixels.
        height: usize,
        /// Columns of pixels.
        width: usize,
        /// Values of a pixel.
        channels: usize,
    },
    /// A vector.
    Vector {
        /// Its length.
        size: usize,
    },
    /// Tokens of a text.
    Tokens {
        /// Number of distinct tokens.
        vocabulary: usize,
    },
}

impl Input {
    /// `[H, W, C]` of an image, `[D]` of a vector, `[]` of a token.
    ///
    /// ```
    /// use alrao::models::Input;
    /// assert_eq!(Input::Image { height: 4, width: 5, channels: 3 }.extents(), [4, 5, 3]);
    /// ```
    pub fn extents(self) -> Vec<usize> {
        match self {
            Input::Image { height, width, channels } => vec![height, width, channels],
            Input::Vector { size } => vec![size],
            Input::Tokens { .. } => Vec::new(),
        }
    }

    /// Number of elements of one sample.
    pub fn elements(self) -> usize {
        self.extents().into_iter().product()
    }

    /// The shape of `samples` samples.
    pub(crate) fn batch(self, samples: usize) -> Vec<usize> {
        [vec![samples], self.extents()].concat()
    }
}

impl std::fmt::Display for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Input::Image { height, width, channels } => {
                write!(f, "images of {height}x{width}x{channels}")
            }
            Input::Vector { size } => write!(f, "vectors of {size}"),
            Input::Tokens { vocabulary } => write!(f, "text of {vocabulary} tokens"),
        }
    }
}
