//! Remarks on data that looks mistaken.

use super::{Arrays, Content, Dataset, ImageFiles, Inputs, Normalisation, Targets};

impl Dataset {
    /// Lines about the data: files and folders that were left out, a text's line ends, images whose axes seem swapped, outliers.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.files().map(ImageFiles::notes).unwrap_or_default();
        match &self.content {
            Content::Text(text) => notes.extend(text.notes()),
            Content::Arrays(arrays) => {
                notes.extend(arrays.table.iter().flat_map(|table| table.notes()));
                notes.extend(arrays.sample.note_on_axes());
                notes.extend(arrays.outliers());
            }
        }
        notes
    }

    /// How many files of a folder of images were left out; `None` if all could be read.
    pub fn left_out(&self) -> Option<String> {
        self.files().and_then(ImageFiles::left_out)
    }
}

impl Arrays {
    /// Remarks on training samples with a number beside which its column's other numbers hardly differ.
    fn outliers(&self) -> Vec<String> {
        const INPUT: &str = "an input";
        let told = |what: &str, floats: &[f32], normalisation: &Option<Normalisation>| {
            let normalisation = normalisation.as_ref()?;
            let [row, column, count] = normalisation.outlier(floats)?;
            let columns = normalisation.mean.len();
            let sample = row * columns * self.train.len() / floats.len();
            let mut own = floats[row * columns..(row + 1) * columns].to_vec();
            normalisation.undo(&mut own);
            let value = own[column];
            let of_table = self.table.as_ref().filter(|_| what == INPUT);
            let column = match of_table.and_then(|table| table.column_of(column)) {
                // A category of few samples marks no missing value.
                Some(own) if own.categories.is_some() => return None,
                Some(own) => format!("'{}'", own.name),
                None => column.to_string(),
            };
            Some(match count {
                1 => format!(
                    "{what} of training sample {sample}, column {column}, is {value:.4e}: beside it, the column's other numbers \
                     hardly differ; does it mark a missing value?"
                ),
                _ => format!(
                    "{what} of {count} training samples, first of sample {sample}, column {column}, is {value:.4e}: beside it, the \
                     column's other numbers hardly differ; does it mark missing values?"
                ),
            })
        };
        let inputs = match &self.train.inputs {
            Inputs::Floats(floats) => told(INPUT, floats, &self.normalisation),
            Inputs::Bytes(_) | Inputs::Files(_) => None,
        };
        let targets = match &self.train.targets {
            Targets::Values { values, .. } => told("a target", values, &self.target_normalisation),
            Targets::Classes(_) => None,
        };
        inputs.into_iter().chain(targets).collect()
    }
}
