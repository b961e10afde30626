//! What data holds, seen without a training.

use std::path::Path;

use super::csv::{ColumnOverview, columns};
use super::encoding;
use super::format::Format;
use super::{
    Content, Dataset, Inputs, Kind, LoadOptions, Normalize, Part, Targets, TokenKind,
    generated_seed, head, is_csv, load_with, unreadable,
};
use crate::error::{Error, Result};
use crate::file;

/// The bytes at a file's start that tell whether it is a text.
const HEAD: u64 = 4096;

/// What data holds.
#[derive(Debug)]
pub struct Overview {
    /// The format, such as `CSV`.
    pub format: &'static str,
    /// The columns of a table.
    pub columns: Vec<ColumnOverview>,
    /// The data; `None` for a table whose target is not known.
    pub dataset: Option<Dataset>,
    /// Lines about the numbers among inputs and targets: their least and largest ones.
    pub ranges: Vec<String>,
    /// What a training would refuse, or what looks mistaken.
    pub problems: Vec<String>,
}

/// Looks at data; the validation part is the data's own. Of a table, `options` may name the target.
///
/// # Errors
/// Those of [`load_with`].
pub fn overview(source: &str, options: &LoadOptions) -> Result<Overview> {
    let options = LoadOptions { valid_split: 0.0, normalize: Normalize::None, ..options.clone() };
    let path = Path::new(source);
    let is_text = generated_seed(source)?.is_none() && is_text(path)?;
    let kind = if is_text { Kind::Text(TokenKind::Character) } else { Kind::Arrays };
    let is_csv = !is_text && is_csv(source, kind);
    let columns = if is_csv { columns(path, &options.table)? } else { Vec::new() };
    let dataset = match is_csv && options.table.target.is_none() {
        true => None,
        false => Some(load_with(source, kind, &options)?),
    };
    let format = match generated_seed(source)? {
        Some(_) => "generated",
        None if is_text => "text",
        None => Format::of(path)?.name(),
    };
    let mut problems = dataset.as_ref().map(Dataset::notes).unwrap_or_default();
    problems.extend(
        dataset.as_ref().and_then(|own| own.check_targets().err()).map(|own| own.to_string()),
    );
    let of_id = |own: &ColumnOverview| {
        format!(
            "column '{}' looks like an id, which says nothing about new rows: `ignore` leaves it out",
            own.name
        )
    };
    problems.extend(columns.iter().filter(|own| own.is_id).map(of_id));
    let ranges = dataset.as_ref().map(ranges).unwrap_or_default();
    Ok(Overview { format, columns, dataset, ranges, problems })
}

/// Whether a folder has texts, or a file is a text and of no other format.
///
/// # Errors
/// For a text that is not UTF-8, with its likely encoding.
fn is_text(path: &Path) -> Result<bool> {
    std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if path.is_dir() {
        return Ok(path.join("train.txt").is_file());
    }
    let head = head(path, HEAD)?;
    if file::mistaken(&head).is_some() || Format::of(path).is_ok() {
        return Ok(false);
    }
    if let Some(message) = encoding::wide(&head, path) {
        return Err(Error::file(path, message));
    }
    // The last character may be cut off.
    let fault = std::str::from_utf8(&head).err().filter(|error| error.error_len().is_some());
    match fault {
        Some(fault) if encoding::may_be_text(&head) => {
            Err(Error::file(path, encoding::guess(&head, fault.valid_up_to(), path)))
        }
        fault => Ok(fault.is_none()),
    }
}

fn ranges(dataset: &Dataset) -> Vec<String> {
    let Content::Arrays(arrays) = &dataset.content else { return Vec::new() };
    let mut lines = Vec::new();
    for part in [Part::Train, Part::Valid, Part::Test] {
        let Some(split) = arrays.part(part) else { continue };
        let name = part.name();
        match &split.inputs {
            Inputs::Bytes(bytes) => {
                let numbers = bytes.iter().map(|byte| f64::from(*byte));
                lines.push(format!("{name} inputs, bytes: {}", range(numbers)));
            }
            Inputs::Floats(floats) => {
                let numbers = floats.iter().map(|own| f64::from(*own));
                lines.push(format!("{name} inputs, floats: {}", range(numbers)));
            }
            Inputs::Files(_) => {}
        }
        if let Targets::Values { values, .. } = &split.targets {
            let numbers = values.iter().map(|own| f64::from(*own));
            lines.push(format!("{name} targets: {}", range(numbers)));
        }
    }
    lines
}

fn range(numbers: impl Iterator<Item = f64> + Clone) -> String {
    let low = numbers.clone().fold(f64::INFINITY, f64::min);
    let high = numbers.clone().fold(f64::NEG_INFINITY, f64::max);
    let (count, sum) = numbers.fold((0.0, 0.0), |(count, sum), own| (count + 1.0, sum + own));
    // The rounding of 32 bits is not shown, nor the sign of a mean that is rounded to zero.
    let mean = format!("{:.4}", sum / count).replace("-0.0000", "0.0000");
    format!("from {} to {}, mean {mean}", low as f32, high as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::TableOptions;

    #[test]
    fn a_table_is_seen_with_and_without_its_target() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.csv");
        std::fs::write(&path, "a,b,c\n1,x,k\n-2.5,,l\n4,x,k\n").unwrap();
        let source = path.to_str().unwrap();
        let seen = overview(source, &LoadOptions::default()).unwrap();
        assert!(seen.format == "CSV" && seen.dataset.is_none());
        let of = |column: usize| {
            let own = &seen.columns[column];
            (own.name.as_str(), own.missing, own.range, own.texts.clone())
        };
        assert_eq!(of(0), ("a", 0, Some([-2.5, 4.0]), Vec::new()));
        assert_eq!(of(1), ("b", 1, None, vec!["x".to_owned()]));
        assert_eq!(of(2), ("c", 0, None, ["k", "l"].map(String::from).to_vec()));
        let table = TableOptions { target: Some("a".into()), ..TableOptions::default() };
        let options = LoadOptions { table, ..LoadOptions::default() };
        let error = overview(source, &options).unwrap_err().to_string();
        assert!(error.contains("line 3, column 'b'"), "{error}");
    }

    #[test]
    fn columns_that_look_like_ids_are_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.csv");
        let write = |rows: usize| {
            let row = |row: usize| {
                format!("{},n{row},{},{},{}.5,{}\n", row + 7, row / 2, row % 3, row, row * row)
            };
            let rows: String = (0..rows).map(row).collect();
            std::fs::write(&path, format!("id,name,pair,kind,half,square\n{rows}")).unwrap();
        };
        let ids = |target: Option<&str>, ignore: &[&str]| {
            let ignore = ignore.iter().map(|name| (*name).to_owned()).collect();
            let table = TableOptions {
                target: target.map(str::to_owned),
                ignore,
                ..TableOptions::default()
            };
            let options = LoadOptions { table, ..LoadOptions::default() };
            let problems = overview(path.to_str().unwrap(), &options).unwrap().problems;
            let of_id = |own: &String| {
                own.contains("`ignore` leaves it out")
                    .then(|| own.split('\'').nth(1).unwrap().to_owned())
            };
            problems.iter().filter_map(of_id).collect::<Vec<_>>()
        };
        write(20);
        assert_eq!(ids(None, &[]), ["id", "name"]);
        assert_eq!(ids(None, &["name"]), ["id"]);
        assert_eq!(ids(Some("id"), &["2"]), [""; 0]);
        write(4);
        assert_eq!(ids(None, &[]), [""; 0]);
    }

    #[test]
    fn a_text_in_another_encoding_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let told = |bytes: &[u8]| {
            let path = folder.path().join("some.txt");
            std::fs::write(&path, bytes).unwrap();
            overview(path.to_str().unwrap(), &LoadOptions::default()).unwrap_err().to_string()
        };
        let latin: Vec<u8> =
            "d\u{e9}j\u{e0} vu, encore une fois\n".chars().map(|own| own as u8).collect();
        assert!(told(&latin.repeat(9)).contains("probably Latin-1"));
        let wide: Vec<u8> = "some words\n".repeat(9).bytes().flat_map(|own| [own, 0]).collect();
        assert!(told(&wide).contains("probably UTF-16"));
        assert!(told(&[0, 1, 2, 0xff, 0xfe].repeat(9)).contains("of no format"));
    }

    #[test]
    fn numbers_have_a_range() {
        assert_eq!(range([1.0, 3.0, -2.0].into_iter()), "from -2 to 3, mean 0.6667");
        let tenth = f64::from(0.1f32);
        assert_eq!(range([tenth, -tenth - 1e-9].into_iter()), "from -0.1 to 0.1, mean 0.0000");
        let seen = overview("generated", &LoadOptions::default()).unwrap();
        assert!(
            seen.ranges[0].starts_with("train inputs, bytes: from 0 to 255"),
            "{:?}",
            seen.ranges
        );
        assert!(seen.problems.is_empty());
    }
}
