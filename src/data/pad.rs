//! A black border around small images, for models of larger ones.

use super::{Arrays, Inputs, Normalisation};
use crate::input::Input;

impl Arrays {
    /// Gives the images of all parts a border, so that they have `side` rows and columns. It is black: 0 before the
    /// standardisation.
    ///
    /// # Errors
    /// A message where the data has no images in memory, or larger ones.
    pub(super) fn pad(&mut self, side: usize) -> Result<(), String> {
        let from = self.sample;
        let wanted = match from {
            _ if matches!(self.train.inputs, Inputs::Files(_)) => {
                return Err(
                    "has images in files, which `image_size` resizes; `pad` is for arrays".into()
                );
            }
            Input::Image { height, width, channels } if height <= side && width <= side => {
                Input::Image { height: side, width: side, channels }
            }
            Input::Image { .. } => return Err(format!("has {from}, larger than `pad` {side}")),
            _ => return Err(format!("has {from}; `pad` is for images")),
        };
        // Floats are standardised already.
        let black = self.normalisation.clone();
        self.change_splits(|split| {
            split.inputs = padded(&split.inputs, from, wanted, black.as_ref())
        });
        self.sample = wanted;
        Ok(())
    }
}

/// Images in the middle of larger ones, whose border is black; an odd row or column of it is below or on the right. Floats may
/// be standardised.
pub(super) fn padded(
    inputs: &Inputs,
    from: Input,
    to: Input,
    normalisation: Option<&Normalisation>,
) -> Inputs {
    let channels = to.extents().last().copied().unwrap_or(1);
    let mut black = vec![0.0; channels];
    if let Some(normalisation) = normalisation {
        normalisation.apply(&mut black);
    }
    match inputs {
        Inputs::Bytes(bytes) => Inputs::Bytes(framed(bytes, from, to, &vec![0; channels])),
        Inputs::Floats(floats) => Inputs::Floats(framed(floats, from, to, &black)),
        Inputs::Files(files) => Inputs::Files(files.clone()),
    }
}

/// `frame` is a pixel of the border.
pub(super) fn framed<T: Copy>(images: &[T], from: Input, to: Input, frame: &[T]) -> Vec<T> {
    let ([height, width, channels], [rows, columns, _]) = (extents(from), extents(to));
    let (above, left) = ((rows - height) / 2, (columns - width) / 2);
    let mut out = frame.repeat(rows * columns * images.len() / from.elements().max(1));
    for (image, own) in
        images.chunks_exact(from.elements()).zip(out.chunks_exact_mut(to.elements()))
    {
        for (row, pixels) in image.chunks_exact(width * channels).enumerate() {
            let start = ((above + row) * columns + left) * channels;
            own[start..start + pixels.len()].copy_from_slice(pixels);
        }
    }
    out
}

fn extents(image: Input) -> [usize; 3] {
    match image {
        Input::Image { height, width, channels } => [height, width, channels],
        _ => panic!("only images have a border"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Input = Input::Image { height: 1, width: 2, channels: 1 };
    const LARGE: Input = Input::Image { height: 4, width: 4, channels: 1 };

    #[test]
    fn an_image_lies_in_the_middle_of_black() {
        let bytes = padded(&Inputs::Bytes(vec![7, 8, 9, 9]), SMALL, LARGE, None);
        let Inputs::Bytes(bytes) = bytes else { panic!("no bytes") };
        assert_eq!(bytes[..16], [0, 0, 0, 0, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((bytes[21], bytes.len()), (9, 32));
        let black = Normalisation { mean: vec![0.5], deviation: vec![0.25] };
        let Inputs::Floats(floats) =
            padded(&Inputs::Floats(vec![1.0, 2.0]), SMALL, LARGE, Some(&black))
        else {
            panic!("no floats")
        };
        assert_eq!(floats[3..8], [-2.0, -2.0, 1.0, 2.0, -2.0]);
    }
}
