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

    /// Advice on images whose axes seem to be in another order in their file.
    pub(crate) fn note_on_axes(self) -> Option<String> {
        const USUAL_CHANNELS: [usize; 3] = [1, 3, 4];
        let Input::Image { height, width, channels } = self else { return None };
        let is_swapped = USUAL_CHANNELS.contains(&width) && !USUAL_CHANNELS.contains(&channels);
        is_swapped.then(|| {
            format!(
                "images of {channels} channels, {height} rows and {width} columns: if the file has the axes [N, H, W, C], \
                 np.ascontiguousarray(np.moveaxis(x, -1, 1)) turns them into [N, C, H, W]"
            )
        })
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
