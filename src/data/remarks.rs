//! Remarks on data that looks mistaken.

use super::{Arrays, Content, Dataset, ImageFiles, Inputs, Normalisation, Targets};

impl Dataset {
    /// Lines about the data: files and folders that were left out, a text's line ends, images whose axes seem swapped, outliers,
    /// numbers that 32 bits round too much.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.files().map(ImageFiles::notes).unwrap_or_default();
        match &self.content {
            Content::Text(text) => notes.extend(text.notes()),
            Content::Arrays(arrays) => {
                notes.extend(arrays.table.iter().flat_map(|table| table.notes()));
                notes.extend(arrays.sample.note_on_axes());
                notes.extend(arrays.outliers());
                notes.extend(arrays.coarse_columns());
                notes.extend(arrays.constant_columns());
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
            let is_input = what == INPUT;
            let of_table = self.table.as_ref().filter(|_| is_input);
            // A category of few samples marks no missing value.
            if of_table
                .and_then(|table| table.column_of(column))
                .is_some_and(|own| own.categories.is_some())
            {
                return None;
            }
            let (sample, column) = (self.place_of(sample), self.column_name(is_input, column));
            Some(match count {
                1 => format!(
                    "{what} of {sample}, column {column}, is {value:.4e}: beside it, the column's other numbers \
                     hardly differ; does it mark a missing value?"
                ),
                _ => format!(
                    "{what} of {count} training samples, first of {sample}, column {column}, is {value:.4e}: beside it, the \
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

    /// A training sample in the words of its file: a row of a table, counted from 1, or a sample of arrays, from 0.
    fn place_of(&self, sample: usize) -> String {
        let number = self.train.numbers.as_ref().map_or(sample, |numbers| numbers[sample]);
        match self.table {
            Some(_) => format!("row {}", number + 1),
            None => format!("sample {number}"),
        }
    }

    /// A column of the inputs, or else of the targets: its name in a table, or its number.
    fn column_name(&self, is_input: bool, column: usize) -> String {
        let name = self.table.as_ref().and_then(|table| match is_input {
            true => table.column_of(column).map(|own| own.name.as_str()),
            false => Some(table.target.as_str()),
        });
        name.map_or_else(|| column.to_string(), |name| format!("'{name}'"))
    }

    /// A remark on a table's columns of numbers that are the same in all training rows, or become so in 32 bits.
    fn constant_columns(&self) -> Option<String> {
        let (table, Inputs::Floats(floats)) = (self.table.as_ref()?, &self.train.inputs) else {
            return None;
        };
        let columns = table.inputs();
        let is_constant = |column: &usize| {
            let mut values = floats.iter().skip(*column).step_by(columns);
            let first = values.next();
            let has_numbers = table.column_of(*column).is_some_and(|own| own.categories.is_none());
            has_numbers && floats.len() > columns && values.all(|own| Some(own) == first)
        };
        let names = (0..columns).filter(is_constant).map(|column| self.column_name(true, column));
        let names: Vec<String> = names.collect();
        let plural = if names.len() == 1 { "" } else { "s" };
        (!names.is_empty()).then(|| {
            format!(
                "column{plural} {}: 32 bits hold the same number in all training rows, so nothing can be learnt from it",
                names.join(", ")
            )
        })
    }

    /// Remarks on columns whose numbers are so large beside their differences that 32 bits round most of these away.
    fn coarse_columns(&self) -> Vec<String> {
        // Of 24 bits, the differences are to have six or more.
        const MOST: f64 = (1 << 18) as f64;
        let coarse = |is_input: bool, floats: &[f32], normalisation: &Option<Normalisation>| {
            let Some(Normalisation { mean, deviation }) = normalisation else { return Vec::new() };
            let columns = mean.len();
            let differs = |column: usize| {
                let mut values = floats.iter().skip(column).step_by(columns);
                let first = values.next();
                values.any(|own| Some(own) != first)
            };
            let is_coarse = |column: &usize| {
                mean[*column].abs() > MOST * deviation[*column] && differs(*column)
            };
            let told = |column: usize| {
                format!(
                    "column {} has numbers of {:e} that differ little: 32 bits round the differences away; subtract a constant \
                     from all of them",
                    self.column_name(is_input, column),
                    mean[column] as f32
                )
            };
            (0..columns).filter(is_coarse).map(told).collect()
        };
        let mut notes = match &self.train.inputs {
            Inputs::Floats(floats) => coarse(true, floats, &self.normalisation),
            Inputs::Bytes(_) | Inputs::Files(_) => Vec::new(),
        };
        if let Targets::Values { values, .. } = &self.train.targets {
            notes.extend(coarse(false, values, &self.target_normalisation));
        }
        notes
    }
}
